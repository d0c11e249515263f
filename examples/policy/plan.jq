# Refuses a plan that loses data or costs too much. It reads what `plan --format json` prints, or a
# saved plan:
#
#   dewpoint plan --format json | jq -r --arg most 0.50 -f examples/policy/plan.jq
#
# `schemas/plan.schema.json` (`dewpoint schema plan`) describes every field.

(.plan // .)
| [
    # A volume that is destroyed takes all data on it along.
    (.changes[]
      | select((.address | startswith("volume.")) and .action == "delete")
      | "\(.address) (\(.name)) would be destroyed: \([.reasons[].text] | join("; "))"),

    # So does a droplet, with what lies on its own disk.
    (.changes[]
      | select((.address | startswith("droplet.")) and .action == "destroy_then_create")
      | "\(.address) (\(.name)) would be replaced: \([.reasons[].text] | join("; "))"),

    # Prices are text, exact to the last digit.
    (.cost.hourly_while_up
      | select(tonumber > ($most | tonumber))
      | "it costs $\(.) an hour, and $\($most) is the most")
  ]
| if length == 0 then "allowed"
  else (map("refused: \(.)\n") | add | halt_error(1))
  end
