use super::*;

/// What a user reads.
fn rendered(text: &str) -> String {
    rendered_with(text, &Inputs::default())
}

fn rendered_with(text: &str, inputs: &Inputs) -> String {
    let errors = load("dewpoint.yaml", text.as_bytes(), inputs).expect_err("an error");
    let mut out = String::new();
    miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor())
        .with_width(100)
        .with_links(false)
        .render_report(&mut out, &errors)
        .expect("a rendering");
    out
}

#[test]
fn the_smallest_manifest_is_read() {
    let text = "version: 1\nproject: app\nregion: nyc3\n";
    let manifest = load("dewpoint.yaml", text.as_bytes(), &Inputs::default()).expect("a manifest");
    assert_eq!(manifest.environment, "main");
    assert!(rendered("version: 2").contains("problem"));
}
