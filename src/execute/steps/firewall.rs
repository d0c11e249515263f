//! The environment's firewall.

use super::Steps;
use crate::execute::error::StepError;
use crate::plan::StepId;
use crate::plan::step::{FirewallRef, FirewallSpec};

impl Steps {
    /// Makes the firewall.
    pub(super) async fn create_firewall(
        &self,
        step: StepId,
        spec: &FirewallSpec,
    ) -> Result<String, StepError> {
        let firewall = self.settings.client.create_firewall(spec).await?;
        let note = format!("firewall {}", firewall.id);
        self.outputs.made_firewall(step, firewall.id);
        Ok(note)
    }

    /// Replaces its rules and tags.
    pub(super) async fn update_firewall(
        &self,
        id: &str,
        spec: &FirewallSpec,
    ) -> Result<String, StepError> {
        self.settings.client.update_firewall(id, spec).await?;
        Ok(String::new())
    }

    /// Deletes it. One that was never made is no error.
    pub(super) async fn delete_firewall(
        &self,
        firewall: &FirewallRef,
    ) -> Result<String, StepError> {
        let id = match firewall {
            FirewallRef::Known(id) => Some(id.clone()),
            FirewallRef::Created(step) => self.outputs.firewall(*step),
        };
        let Some(id) = id else {
            return Ok("was never made".to_owned());
        };
        self.settings.client.delete_firewall(&id).await?;
        Ok(String::new())
    }
}
