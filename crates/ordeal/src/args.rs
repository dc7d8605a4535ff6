//! The command line: the run that people start, and the role in which the program starts itself.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Tries real processes that keep the log, and says whether they kept their promises
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask ordeal",
    bin_name = "cargo xtask ordeal",
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Arguments {
    /// Without one, a run.
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    #[command(flatten)]
    pub(crate) run: RunArguments,
}

/// What the program starts itself as.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Is one node until whoever started it ends.
    #[command(hide = true)]
    Node(NodeArguments),
}

/// One run.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArguments {
    /// What is done to the nodes; several with commas between
    #[arg(
        long = "fault",
        value_enum,
        value_delimiter = ',',
        default_value = "mixed"
    )]
    pub(crate) faults: Vec<Fault>,
    /// For so long; 5 to 3,600, which is what a history in memory allows
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3_600))]
    pub(crate) seconds: u64,
    /// Nodes, all of which vote: 3 or 5
    #[arg(long, value_name = "N", default_value = "3", value_parser = ["3", "5"])]
    nodes: String,
    /// Where chance begins; printed by every run
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Print one JSON object per row
    #[arg(long)]
    pub(crate) json: bool,
    /// Clients at the same time, 1 to 64
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub(crate) clients: u64,
    /// Clients of locks at the same time, 0 to 16; without any nobody votes, either
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=16))]
    pub(crate) locks: u64,
    /// Where the nodes live: each in a network of its own, which needs root, or all on loopback
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) ground: GroundName,
    /// Put this mistake in first; the promises should notice
    #[arg(long, value_enum)]
    pub(crate) planted: Option<Planted>,
    /// Where data goes, and what is kept of a broken promise; beside this program if it is not said
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) data: Option<PathBuf>,
    /// Keep schedule, history and the nodes' output also when every promise was kept
    #[arg(long)]
    pub(crate) keep: bool,
    /// The run has mounts and a network of its own already.
    #[arg(long, hide = true)]
    pub(crate) apart: bool,
}

impl RunArguments {
    pub(crate) fn nodes(&self) -> usize {
        if self.nodes == "5" { 5 } else { 3 }
    }

    /// The command that does it again.
    pub(crate) fn replay(&self, seed: u64) -> String {
        let faults: Vec<String> = self.faults.iter().map(named).collect();
        let mut line = format!(
            "cargo xtask ordeal --fault {} --seconds {} --nodes {} --seed {seed} --clients {} --locks {} --ground {}",
            faults.join(","),
            self.seconds,
            self.nodes,
            self.clients,
            self.locks,
            named(&self.ground),
        );
        if let Some(planted) = &self.planted {
            line.push_str(&format!(" --planted {}", named(planted)));
        }
        line
    }
}

/// The name of a choice on the command line.
pub(crate) fn named(choice: &impl ValueEnum) -> String {
    let value = choice.to_possible_value().expect("no choice is hidden");
    value.get_name().to_owned()
}

/// Sorts of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// Processes die in the middle of whatever they do, and start again
    Kill,
    /// Processes stand still for a while, and go on as if nothing had been
    Suspend,
    /// Nodes and clients cannot reach each other, in all ways there are
    Partition,
    /// Disks stall, are slow, are full, and lose what was not synced
    Disk,
    /// All of it, also at the same time
    Mixed,
}

/// Where nodes live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GroundName {
    /// Networks of their own where they are to be had and a fault needs them
    Auto,
    /// Networks of their own
    Namespaces,
    /// Addresses of loopback
    Loopback,
}

/// Mistakes made on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Planted {
    /// A read asks no majority
    ReadWithoutIndex,
    /// A leader that starts again leads on
    LeaderRestore,
    /// Whoever asks for pre-votes has them
    FreePreVotes,
    /// A node votes with a doubtful log
    VotesInDoubt,
    /// A node that is killed loses the last things it said were safe
    LyingDisk,
}

/// A node.
#[derive(Args, Debug)]
pub(crate) struct NodeArguments {
    /// Where the issuer of the cluster is.
    #[arg(long)]
    pub(crate) cluster: PathBuf,
    /// Its own directory.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Which one it is.
    #[arg(long)]
    pub(crate) number: usize,
    /// Where all of them are.
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) addresses: Vec<SocketAddr>,
    /// The network it lives in.
    #[arg(long)]
    pub(crate) namespace: Option<String>,
    /// The process that has to be alive for it.
    #[arg(long)]
    pub(crate) owner: u32,
    /// A mistake made on purpose.
    #[arg(long, value_enum)]
    pub(crate) planted: Option<Planted>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_is_printed_as_a_replay_is_read_as_the_same_run() {
        let line = [
            "ordeal",
            "--fault",
            "kill,disk",
            "--nodes",
            "5",
            "--planted",
            "lying-disk",
        ];
        let run = Arguments::parse_from(line).run;

        let replay = run.replay(7);

        let words = replay.split(' ').skip(2);
        let again = Arguments::parse_from(words).run;
        assert_eq!(again.seed, Some(7));
        assert_eq!(
            (again.faults.clone(), again.nodes()),
            (vec![Fault::Kill, Fault::Disk], 5)
        );
        assert_eq!(again.replay(7), replay);
    }

    #[test]
    fn there_are_three_or_five_nodes() {
        assert!(Arguments::try_parse_from(["ordeal", "--nodes", "4"]).is_err());
        assert!(Arguments::try_parse_from(["ordeal", "--seconds", "3601"]).is_err());
    }
}
