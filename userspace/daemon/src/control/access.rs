//! Who may do what on the control socket.
//!
//! The kernel says who is at the other end: user, process and groups as they were when it connected (`SO_PEERCRED`
//! and `SO_PEERGROUPS`, unix(7) and socket(7)). Root and the daemon's own user are admins; members of the groups
//! that `[control]` names are what it says, the highest of them counts; everybody else is refused.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{fs, mem, ptr};

use callgate_api::Role;
use callgate_rules::ruleset::Control;

/// Groups of a process that are looked at: NGROUPS_MAX.
const GROUPS: usize = 65_536;

/// What is granted to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    own_uid: u32,
    /// By group; a group that stands under two roles has the higher.
    granted: Vec<(u32, Role)>,
    /// Groups that are named and that this machine does not have.
    pub unknown: Vec<String>,
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its user.
    pub uid: u32,
    /// Its process, where the kernel knows it here.
    pub pid: Option<i32>,
    /// What it may do; `None`: nothing.
    pub role: Option<Role>,
}

impl Access {
    /// For the daemon's own user and root alone.
    pub fn of(own_uid: u32) -> Self {
        Self { own_uid, granted: Vec::new(), unknown: Vec::new() }
    }

    /// As `[control]` says; members of `group`, if one is given, may look besides.
    pub fn granted(own_uid: u32, group: Option<u32>, control: &Control) -> Self {
        let mut access = Self::of(own_uid);
        access.granted.extend(group.map(|group| (group, Role::Viewer)));
        let roles = [
            (&control.viewers, Role::Viewer),
            (&control.operators, Role::Operator),
            (&control.admins, Role::Admin),
        ];
        for (name, role) in
            roles.into_iter().flat_map(|(names, role)| names.iter().map(move |name| (name, role)))
        {
            match group_id(name) {
                Some(gid) => access.granted.push((gid, role)),
                None => access.unknown.push(name.clone()),
            }
        }
        access
    }

    /// What a user with these groups may do; `None`: nothing.
    pub fn role(&self, uid: u32, groups: &[u32]) -> Option<Role> {
        if uid == 0 || uid == self.own_uid {
            return Some(Role::Admin);
        }
        self.granted.iter().filter(|(group, _)| groups.contains(group)).map(|(_, role)| *role).max()
    }

    /// The groups that may do anything, ascending.
    pub fn groups(&self) -> BTreeSet<u32> {
        self.granted.iter().map(|(group, _)| *group).collect()
    }

    /// Who is at the other end of a socket.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn peer(&self, stream: &tokio::net::UnixStream) -> io::Result<Peer> {
        let credentials = stream.peer_cred()?;
        let mut groups = peer_groups(stream)?;
        groups.push(credentials.gid());
        let (uid, pid) = (credentials.uid(), credentials.pid());
        Ok(Peer { uid, pid, role: self.role(uid, &groups) })
    }
}

/// A group's number from its name or number; only `/etc/group` is asked (group(5)).
pub fn group_id(name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

/// A user's name from its number, as `/etc/passwd` has it (passwd(5)).
pub fn user_name(uid: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The supplementary groups of whoever has connected.
fn peer_groups(stream: &tokio::net::UnixStream) -> io::Result<Vec<u32>> {
    let mut groups: Vec<u32> = vec![0; 64];
    loop {
        let mut length = libc::socklen_t::try_from(mem::size_of_val(groups.as_slice())).unwrap_or(0);
        // SAFETY: the buffer is as long as `length` says, and the descriptor lives as long as the stream.
        let result = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = usize::try_from(length).unwrap_or(0) / mem::size_of::<u32>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // Too little room: the kernel says how much it takes.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() || count > GROUPS {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

/// Lets these groups connect to the socket, and nobody else but its owner: by its group where it is one, by an
/// access control list (acl(5)) where they are several.
///
/// # Errors
/// What the system says; the socket is then its owner's and its first group's.
pub fn let_in(path: &Path, groups: &BTreeSet<u32>) -> io::Result<()> {
    let first = groups.first().copied();
    std::os::unix::fs::chown(path, None, Some(first.unwrap_or(0)))?;
    let name = CString::new(path.as_os_str().as_bytes())?;
    let list = access_list(groups);
    let attribute = c"system.posix_acl_access";
    if groups.len() <= 1 {
        // SAFETY: both are strings with an end.
        unsafe { libc::removexattr(name.as_ptr(), attribute.as_ptr()) };
        let mode = if first.is_some() { 0o660 } else { 0o600 };
        return fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode));
    }
    // SAFETY: both are strings with an end, and the value is as long as said.
    let result = unsafe {
        libc::setxattr(
            name.as_ptr(),
            attribute.as_ptr(),
            ptr::from_ref(list.as_slice()).cast(),
            list.len(),
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// An access control list as the kernel takes it (linux/posix_acl_xattr.h): its version, then tag, permissions and
/// number of each entry, in the order of tags.
fn access_list(groups: &BTreeSet<u32>) -> Vec<u8> {
    const READ_WRITE: u16 = 6;
    const NOBODY: u32 = u32::MAX;
    let (user_obj, group_obj, group, mask, other) = (0x01, 0x04, 0x08, 0x10, 0x20);
    let mut entries = vec![(user_obj, READ_WRITE, NOBODY), (group_obj, READ_WRITE, NOBODY)];
    entries.extend(groups.iter().map(|gid| (group, READ_WRITE, *gid)));
    entries.extend([(mask, READ_WRITE, NOBODY), (other, 0, NOBODY)]);
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend(u16::to_le_bytes(tag));
        list.extend(u16::to_le_bytes(permissions));
        list.extend(u32::to_le_bytes(id));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(viewers: &[&str], operators: &[&str], admins: &[&str]) -> Control {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Control {
            viewers: owned(viewers),
            operators: owned(operators),
            admins: owned(admins),
            ..Control::default()
        }
    }

    #[test]
    fn nobody_may_anything_unless_said() {
        let access = Access::granted(990, None, &Control::default());
        assert_eq!(access.role(0, &[]), Some(Role::Admin));
        assert_eq!(access.role(990, &[]), Some(Role::Admin));
        assert_eq!(access.role(1_000, &[0, 4, 100]), None);
    }

    #[test]
    fn the_highest_role_of_ones_groups_counts() {
        let access = Access::granted(0, Some(50), &control(&["100"], &["200", "100"], &["300"]));
        assert_eq!(access.role(1_000, &[50]), Some(Role::Viewer));
        assert_eq!(access.role(1_000, &[7, 200]), Some(Role::Operator));
        assert_eq!(access.role(1_000, &[100]), Some(Role::Operator));
        assert_eq!(access.role(1_000, &[300, 50]), Some(Role::Admin));
        assert_eq!(access.role(1_000, &[301]), None);
        assert_eq!(access.groups().into_iter().collect::<Vec<_>>(), [50, 100, 200, 300]);
    }

    #[test]
    fn a_group_that_is_not_there_gives_nobody_anything() {
        let access = Access::granted(0, None, &control(&["no-such-group"], &[], &["root"]));
        assert_eq!(access.unknown, ["no-such-group"]);
        assert_eq!(access.role(1_000, &[0]), Some(Role::Admin), "group root, by name");
    }

    #[test]
    fn groups_and_users_are_found_by_name_and_number() {
        assert_eq!(group_id("root"), Some(0));
        assert_eq!(group_id("4711"), Some(4_711));
        assert_eq!(group_id("no such group"), None);
        assert_eq!(user_name(0).as_deref(), Some("root"));
        assert_eq!(user_name(4_000_000_000), None);
    }

    #[test]
    fn several_groups_are_let_in_and_nobody_else() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};

        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        let own = fs::metadata(&path).expect("it exists").gid();
        let_in(&path, &BTreeSet::from([own])).expect("one's own group can be given");
        let meta = fs::metadata(&path).expect("it exists");
        assert_eq!((meta.permissions().mode() & 0o777, meta.gid()), (0o660, own));
        if meta.uid() == 0 {
            match let_in(&path, &BTreeSet::from([own, 4_711])) {
                // The group's bits are the list's mask (acl(5)).
                Ok(()) => {
                    let mode = fs::metadata(&path).expect("it exists").permissions().mode();
                    assert_eq!(mode & 0o777, 0o660);
                }
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "{error}"),
            }
            let_in(&path, &BTreeSet::new()).expect("the owner is left");
            assert_eq!(fs::metadata(&path).expect("it exists").permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn an_access_list_is_as_the_kernel_reads_it() {
        let list = access_list(&BTreeSet::from([7, 9]));
        assert_eq!(list.len(), 4 + 6 * 8);
        assert_eq!(list[..12], [2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255]);
        assert_eq!(list[20..28], [8, 0, 6, 0, 7, 0, 0, 0]);
        assert_eq!(list[44..], [32, 0, 0, 0, 255, 255, 255, 255]);
    }
}
