//! Control groups: where the groups of this process are, from its own up to the highest that can be seen, and what the lowest limit of all is.
//!
//! There are two versions, and hosts that have both at once, with each controller in one of them. All mounts are looked at; a group that has no
//! file for a limit limits nothing. A container may see neither the groups above its own nor that there are any, so a limit there is only
//! likely the lowest.
//!
//! | bound | |
//! | --- | --- |
//! | lines of `/proc/self/cgroup` | [`MEMBERSHIPS`] |
//! | groups above each other | [`DEPTH`]; beyond that nothing is sure |

use super::answer::{Answer, Confidence, quoted};
use super::mounts::{Mount, below, mounts};
use super::root::{LARGE, Root, Unread};

const PATH: &str = "/proc/self/cgroup";
/// As many as are looked at; the older version has a dozen controllers.
const MEMBERSHIPS: usize = 64;
/// As deep as groups are followed.
const DEPTH: usize = 32;

/// Which version of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// A tree for each controller.
    First,
    /// One tree for all.
    Second,
}

/// Groups above each other, in one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) version: Version,
    /// Their directories, the process's own first.
    pub(crate) directories: Vec<String>,
    /// The last of them is the highest there is.
    pub(crate) sees_top: bool,
    /// The first of them is the process's own, and not only the best guess.
    sees_own: bool,
}

/// Where limits may be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Groups {
    pub(crate) cpu: Vec<Chain>,
    pub(crate) memory: Vec<Chain>,
    /// The directory of the process's own group in the tree of the second version; none where that cannot be seen.
    pub(crate) own: Option<String>,
}

/// What one group says of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// It has none.
    None,
    /// So much, and where that stands.
    Some(u64, String),
    /// That cannot be told.
    Unknown(String),
}

impl Chain {
    /// The process's own group.
    fn own(&self) -> Option<&String> {
        self.directories.first().filter(|_| self.sees_own)
    }
}

impl Limit {
    /// What a file says; of one that is not there, that it limits nothing.
    pub(crate) fn of(
        path: &str,
        text: Result<String, Unread>,
        parse: impl FnOnce(&str) -> Option<Option<u64>>,
    ) -> Self {
        match text {
            Err(unread) if unread.is_absence() => Self::None,
            Err(unread) => Self::Unknown(unread.to_string()),
            Ok(text) => match parse(&text) {
                Some(None) => Self::None,
                Some(Some(most)) => Self::Some(most, path.to_owned()),
                None => Self::Unknown(format!("{path} says {}", quoted(&text))),
            },
        }
    }
}

impl Groups {
    /// The lowest limit of all groups; none when no group has one.
    pub(crate) fn lowest(
        groups: &Answer<Self>,
        chains: impl FnOnce(&Self) -> &[Chain],
        limit: impl Fn(Version, &str) -> Limit,
    ) -> Answer<Option<u64>> {
        let known = match groups {
            Answer::Known(known) => known,
            Answer::Unknown { why } => return Answer::unknown(why),
        };
        let (mut lowest, mut hidden): (Option<(u64, String)>, Option<String>) = (None, None);
        let mut sees_top = known.confidence == Confidence::Sure;
        for chain in chains(&known.value) {
            sees_top &= chain.sees_top;
            for directory in &chain.directories {
                match limit(chain.version, directory) {
                    Limit::None => {}
                    Limit::Unknown(why) => hidden = hidden.or(Some(why)),
                    Limit::Some(most, path) => {
                        if lowest.as_ref().is_none_or(|(least, _)| most < *least) {
                            lowest = Some((most, path));
                        }
                    }
                }
            }
        }
        match (lowest, hidden) {
            (None, Some(why)) => Answer::unknown(why),
            (Some((most, path)), Some(_)) => Answer::known(Some(most), path, Confidence::AtMost),
            (Some((most, path)), None) if sees_top => Answer::sure(Some(most), path),
            (Some((most, path)), None) => Answer::likely(Some(most), path),
            (None, None) if sees_top => Answer::sure(None, known.source.clone()),
            (None, None) => Answer::likely(None, known.source.clone()),
        }
    }
}

/// Finds them.
pub(crate) fn look(root: &Root, mountinfo: &Result<String, Unread>) -> Answer<Groups> {
    let text = match root.read(PATH, LARGE) {
        Ok(text) => text,
        // A kernel without groups has no limits by groups; where nothing at all can be read, nothing is known.
        Err(unread) if unread.is_absence() && root.has("/proc/self/status") => {
            return Answer::sure(Groups::default(), format!("{PATH} (not there)"));
        }
        Err(unread) => return Answer::unknown(unread),
    };
    let members: Vec<Member<'_>> = text.lines().take(MEMBERSHIPS).filter_map(member).collect();
    if members.is_empty() && !text.trim().is_empty() {
        return Answer::unknown(format!("{PATH} says {}", quoted(&text)));
    }
    let (groups, is_guess) = match mountinfo {
        Ok(mountinfo) => (find(root, &members, mounts(mountinfo)), false),
        Err(_) => (find(root, &members, usual(root).into_iter()), true),
    };
    if is_guess {
        Answer::likely(groups, PATH)
    } else {
        Answer::sure(groups, PATH)
    }
}

/// A line of `/proc/self/cgroup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member<'t> {
    controllers: &'t str,
    path: &'t str,
}

impl Member<'_> {
    fn has(&self, controller: &str) -> bool {
        self.controllers.split(',').any(|it| it == controller)
    }
}

/// `4:memory:/a/b`, and for the newer version `0::/a/b`.
fn member(line: &str) -> Option<Member<'_>> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    path.starts_with('/')
        .then_some(Member { controllers, path })
}

/// The groups of the process, in each tree that is mounted; of one that is mounted twice, in the first place.
fn find<'t>(
    root: &Root,
    members: &[Member<'_>],
    mounts: impl Iterator<Item = Mount<'t>>,
) -> Groups {
    let mut groups = Groups::default();
    let mut has_second = false;
    for mount in mounts {
        let has = |controller| mount.options.split(',').any(|it| it == controller);
        let of = |controller: &str| members.iter().find(|member| member.has(controller));
        if mount.kind == "cgroup2" && !has_second {
            has_second = true;
            let Some(member) = of("") else { continue };
            let chain = chain(root, Version::Second, &mount, member.path);
            groups.own = chain.own().cloned();
            groups.memory.push(chain.clone());
            groups.cpu.push(chain);
        } else if mount.kind == "cgroup" {
            for (controller, chains) in [("cpu", &mut groups.cpu), ("memory", &mut groups.memory)] {
                let is_new = chains.iter().all(|chain| chain.version == Version::Second);
                if let (true, true, Some(member)) = (has(controller), is_new, of(controller)) {
                    chains.push(chain(root, Version::First, &mount, member.path));
                }
            }
        }
    }
    groups
}

/// From the process's own group up to where the tree is mounted.
fn chain(root: &Root, version: Version, mount: &Mount<'_>, path: &str) -> Chain {
    // A group outside of what is mounted, or with dots in its path, cannot be seen; what is mounted is the best guess then.
    let is_plain = !path.split('/').any(|part| part == "..");
    let inside = below(path, &mount.root).filter(|_| is_plain);
    let point = mount.point.trim_end_matches('/');
    let mut rest = inside.unwrap_or_default().trim_end_matches('/');
    let mut directories = Vec::new();
    while directories.len() < DEPTH {
        directories.push(format!("{point}{rest}"));
        let Some(at) = rest.rfind('/') else { break };
        rest = rest[..at].trim_end_matches('/');
    }
    let reaches_point = directories.last().is_some_and(|last| last == point);
    let is_highest = match version {
        Version::Second => !root.has(&format!("{point}/cgroup.type")),
        Version::First => root.has(&format!("{point}/release_agent")),
    };
    Chain {
        version,
        directories,
        sees_top: inside.is_some() && reaches_point && is_highest && mount.root == "/",
        sees_own: inside.is_some(),
    }
}

/// Where trees are mounted nearly everywhere, for when nothing says where they are.
fn usual(root: &Root) -> Vec<Mount<'static>> {
    let mount = |point: &'static str, kind, options| Mount {
        device: (0, 0),
        root: "/".into(),
        point: point.into(),
        kind,
        source: kind.into(),
        options,
    };
    if root.has("/sys/fs/cgroup/cgroup.controllers") {
        return vec![mount("/sys/fs/cgroup", "cgroup2", "rw")];
    }
    vec![
        mount("/sys/fs/cgroup/unified", "cgroup2", "rw"),
        mount("/sys/fs/cgroup/cpu", "cgroup", "rw,cpu"),
        mount("/sys/fs/cgroup/memory", "cgroup", "rw,memory"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> Root {
        let files = files.iter();
        let files = files.map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
        Root::memory(files.collect())
    }

    fn found(root: &Root, mountinfo: &str) -> Groups {
        let answer = look(root, &Ok(mountinfo.to_owned()));
        answer
            .value()
            .unwrap_or_else(|| panic!("{answer:?}"))
            .clone()
    }

    const SECOND: &str = "31 1 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn all_groups_up_to_the_highest_are_found() {
        let root = root(&[(PATH, "0::/a.slice/b.service\n")]);
        let groups = found(&root, SECOND);
        let expected = Chain {
            version: Version::Second,
            directories: [
                "/sys/fs/cgroup/a.slice/b.service",
                "/sys/fs/cgroup/a.slice",
                "/sys/fs/cgroup",
            ]
            .map(str::to_owned)
            .into(),
            sees_top: true,
            sees_own: true,
        };
        assert_eq!(groups.cpu, std::slice::from_ref(&expected));
        assert_eq!(groups.own.as_ref(), Some(&expected.directories[0]));
        assert_eq!(groups.memory, [expected]);
    }

    #[test]
    fn a_container_sees_its_own_group_and_not_whether_there_are_more() {
        let named = root(&[(PATH, "0::/\n"), ("/sys/fs/cgroup/cgroup.type", "domain\n")]);
        let groups = found(&named, SECOND);
        assert_eq!(groups.cpu[0].directories, ["/sys/fs/cgroup"]);
        assert!(!groups.cpu[0].sees_top);

        // Without a name space of its own, it reads paths of the host, and what is mounted begins in their middle.
        let path = "4:cpu,cpuacct:/docker/f00\n3:memory:/docker/f00\n0::/docker/f00\n";
        let first = "31 1 0:29 /docker/f00 /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                     32 1 0:30 /docker/f00 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let hosts = root(&[(PATH, path)]);
        let groups = found(&hosts, first);
        assert_eq!(groups.cpu[0].directories, ["/sys/fs/cgroup/cpu,cpuacct"]);
        assert_eq!(groups.memory[0].directories, ["/sys/fs/cgroup/memory"]);
        assert!(!groups.memory[0].sees_top);
        assert_eq!(groups.own, None, "that tree is not mounted");
    }

    #[test]
    fn both_versions_at_once_are_both_looked_at() {
        let root = root(&[
            (PATH, "4:memory:/a/b\n1:cpu:/\n0::/c\n"),
            ("/sys/fs/cgroup/memory/release_agent", ""),
            ("/sys/fs/cgroup/cpu/release_agent", ""),
        ]);
        let mountinfo = "34 1 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                         35 1 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                         36 1 0:32 / /elsewhere rw - cgroup cgroup rw,memory\n\
                         41 1 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let groups = found(&root, mountinfo);
        let all: Vec<&String> = groups
            .memory
            .iter()
            .flat_map(|it| &it.directories)
            .collect();
        assert_eq!(
            all,
            [
                "/sys/fs/cgroup/memory/a/b",
                "/sys/fs/cgroup/memory/a",
                "/sys/fs/cgroup/memory",
                "/sys/fs/cgroup/unified/c",
                "/sys/fs/cgroup/unified",
            ]
        );
        assert!(groups.memory.iter().all(|chain| chain.sees_top));
        assert_eq!(groups.cpu.len(), 2);
        assert_eq!(groups.own.as_deref(), Some("/sys/fs/cgroup/unified/c"));
    }

    #[test]
    fn dots_lead_nowhere_and_depth_has_a_bound() {
        let outside = root(&[(PATH, "0::/../../secret\n")]);
        let groups = found(&outside, SECOND);
        let chain = &groups.cpu[0];
        assert_eq!(chain.directories, ["/sys/fs/cgroup"]);
        assert!(!chain.sees_top);
        assert_eq!(groups.own, None, "somebody else's is not taken for it");
        let deep = format!("0::{}\n", "/a".repeat(2 * DEPTH));
        let chain = &found(&root(&[(PATH, &deep)]), SECOND).cpu[0];
        assert_eq!(chain.directories.len(), DEPTH);
        assert!(!chain.sees_top);
    }

    #[test]
    fn without_mounts_the_usual_places_are_tried_and_nothing_is_sure() {
        let unread = Err(Unread::NotThere {
            path: "/proc/self/mountinfo".to_owned(),
        });
        let root = root(&[
            (PATH, "0::/a\n"),
            ("/sys/fs/cgroup/cgroup.controllers", "cpu"),
        ]);
        let Answer::Known(known) = look(&root, &unread) else {
            panic!("the usual place is there");
        };
        assert_eq!(known.confidence, Confidence::Likely);
        assert_eq!(
            known.value.cpu[0].directories,
            ["/sys/fs/cgroup/a", "/sys/fs/cgroup"]
        );
    }

    #[test]
    fn the_lowest_counts_and_one_that_cannot_be_read_makes_it_a_bound() {
        let groups = found(&root(&[(PATH, "0::/a/b\n")]), SECOND);
        let groups = Answer::sure(groups, PATH);
        let lowest = |limits: [Limit; 3]| {
            Groups::lowest(
                &groups,
                |groups| &groups.cpu,
                |_, directory| limits[directory.matches('/').count() - 3].clone(),
            )
        };
        let some = |most| Limit::Some(most, most.to_string());
        let hidden = || Limit::Unknown("refused".to_owned());
        let found = lowest([Limit::None, some(7), some(9)]);
        assert_eq!(found, Answer::sure(Some(7), "7"));
        let found = lowest([Limit::None, Limit::None, Limit::None]);
        assert_eq!(found, Answer::sure(None, PATH));
        let found = lowest([some(3), hidden(), some(9)]);
        assert_eq!(found, Answer::known(Some(3), "3", Confidence::AtMost));
        assert_eq!(
            lowest([Limit::None, hidden(), Limit::None]),
            Answer::unknown("refused")
        );
    }

    #[test]
    fn a_kernel_without_groups_has_no_limits_and_no_files_say_nothing() {
        let without = root(&[("/proc/self/status", "Name: x\n")]);
        let found = look(&without, &Ok(String::new()));
        assert_eq!(found.value(), Some(&Groups::default()));
        assert_eq!(look(&root(&[]), &Ok(String::new())).value(), None);
        let garbled = root(&[(PATH, "garbage")]);
        assert_eq!(look(&garbled, &Ok(String::new())).value(), None);
    }
}
