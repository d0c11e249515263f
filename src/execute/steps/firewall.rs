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
        self.outputs.ask(step);
        let firewall = match self.settings.client.create_firewall(spec).await {
            Ok(firewall) => firewall,
            Err(error) => {
                self.settle(step, &error);
                return Err(error.into());
            }
        };
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

    /// Deletes it, also one whose create was never answered. One that was never made is no error.
    pub(super) async fn delete_firewall(
        &self,
        firewall: &FirewallRef,
        name: &str,
    ) -> Result<String, StepError> {
        let client = &self.settings.client;
        let id = match firewall {
            FirewallRef::Known(id) => Some(id.clone()),
            FirewallRef::Created(step) => match self.outputs.firewall(*step) {
                None if self.outputs.asked(*step) == Some(true) => client
                    .find_firewall(name)
                    .await?
                    .filter(|found| found.tags.contains(&self.environment_tag))
                    .map(|found| found.id),
                known => known,
            },
        };
        let Some(id) = id else {
            return Ok("was never made".to_owned());
        };
        client.delete_firewall(&id).await?;
        Ok(String::new())
    }
}
