//! Which run, or which runs: the arguments that several commands share, the plan that they ask for, and the line that
//! asks for it again.

use crate::failure::Failure;
use clap::Args;
use scenarios::plan::{EngineName, Plan};
use scenarios::scenario::Scenario;
use std::path::{Path, PathBuf};

/// What the runs of a command have in common.
#[derive(Debug, Args)]
pub(crate) struct Variant {
    /// The scenario that makes the plan.
    #[arg(long, default_value = "default")]
    pub(crate) scenario: Scenario,
    /// The engines of the nodes, in their order, instead of the plan's; where there are more nodes, from the first again.
    #[arg(long, value_name = "ENGINE,…", value_delimiter = ',')]
    pub(crate) engines: Vec<EngineName>,
    /// Change a choice of the protocol; `cargo xtask sim --design list` says which there are. May be repeated.
    #[arg(long, value_name = "FIELD=VALUE")]
    pub(crate) design: Vec<String>,
}

impl Variant {
    /// The plan of a seed.
    pub(crate) fn plan(&self, seed: u64) -> Result<Plan, Failure> {
        self.changed(self.scenario.plan(seed))
    }

    /// A plan with the engines and the design that were asked for.
    fn changed(&self, mut plan: Plan) -> Result<Plan, Failure> {
        set_design(&mut plan, &self.design)?;
        plan.set_engines(&self.engines).map_err(Failure::usage)?;
        Ok(plan)
    }

    /// The line that reruns a seed with a trace.
    pub(crate) fn rerun_line(&self, seed: u64) -> String {
        self.line(&format!("--scenario {} --seed {seed}", self.scenario))
    }

    fn line(&self, which: &str) -> String {
        let designs: String = self.design.iter().map(|choice| format!(" --design {choice}")).collect();
        let engines: Vec<String> = self.engines.iter().map(EngineName::to_string).collect();
        let engines = match engines.is_empty() {
            true => String::new(),
            false => format!(" --engines {}", engines.join(",")),
        };
        format!("cargo xtask sim {which}{designs}{engines} --trace trace.txt")
    }
}

/// One run.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Generate the plan from this seed.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Run the plan in this file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "scenario"])]
    pub(crate) plan: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) variant: Variant,
}

impl RunArguments {
    /// The plan of the run.
    pub(crate) fn plan(&self) -> Result<Plan, Failure> {
        match (&self.plan, self.seed) {
            (Some(file), _) => self.variant.changed(read_plan(file)?),
            (None, Some(seed)) => self.variant.plan(seed),
            (None, None) => Err(Failure::usage("--seed or --plan says what to run")),
        }
    }

    /// The line that reruns it with a trace.
    pub(crate) fn rerun_line(&self) -> String {
        match &self.plan {
            Some(file) => self.variant.line(&format!("--plan {}", file.display())),
            None => self.variant.rerun_line(self.seed.unwrap_or(0)),
        }
    }
}

fn read_plan(file: &Path) -> Result<Plan, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("{}: cannot be read: {error}", file.display())))?;
    Plan::parse(&text).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
}

/// Applies `--design FIELD=VALUE`.
pub(crate) fn set_design(plan: &mut Plan, choices: &[String]) -> Result<(), Failure> {
    for choice in choices {
        let (field, value) = choice
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("--design {choice}: a choice looks like reads=local")))?;
        plan.design.set(field, value).map_err(Failure::usage)?;
    }
    Ok(())
}
