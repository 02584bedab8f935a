//! The escape drill: a process that is locked as the worker is tries to get out, by every way that comes to
//! mind. It has no test harness, because a locked process cannot run one.
//!
//! The program starts itself as the one that tries, once unlocked, to show that the tries would work, and
//! once locked. It also starts the agent on a kernel that pretends to know no landlock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(unsafe_code, reason = "system calls that no library makes")]

mod plant;
mod support;

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use dunlin_agent::worker::{Bounds, Layer, lock};

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[1..] {
        ["try", locked, key, address, parent] => attempt(locked == "locked", key, address, parent),
        ["without-landlock", ..] => without_landlock(&words[2..]),
        _ => {
            nothing_that_a_locked_process_tries_works();
            a_kernel_without_a_layer_is_told_of_or_refused();
        }
    }
}

/// What is tried, and whether it worked.
fn attempt(locked: bool, key: &str, address: &str, parent: &str) {
    if locked {
        let bounds = Bounds { descriptors: 64, file_bytes: 4096, memory_bytes: None, cpu_s: None };
        let missing = lock(bounds);
        assert_eq!(missing, Vec::<Layer>::new(), "this kernel lacks a layer");
    }
    let parent: i32 = parent.parse().unwrap();
    let folder = std::path::Path::new(key).parent().unwrap().to_path_buf();
    let own = std::process::id();
    let call = |number: i64, a: i64, b: i64, c: i64| {
        // SAFETY: the arguments are numbers, or addresses of what outlives the call.
        unsafe { libc::syscall(number, a, b, c, 0i64, 0i64, 0i64) >= 0 }
    };
    let text = |text: &'static std::ffi::CStr| text.as_ptr() as i64;
    let tries: Vec<(&str, bool)> = vec![
        ("read the device's key", std::fs::read(key).is_ok()),
        ("read /etc/passwd", std::fs::read("/etc/passwd").is_ok()),
        ("list /", std::fs::read_dir("/").is_ok()),
        ("make a file", std::fs::write(folder.join("made"), "x").is_ok()),
        ("delete a file", std::fs::remove_file(folder.join("victim")).is_ok()),
        ("make a folder", std::fs::create_dir(folder.join("folder")).is_ok()),
        ("look at its own memory as a file", std::fs::File::open("/proc/self/mem").is_ok()),
        ("look at its parent's memory", std::fs::File::open(format!("/proc/{parent}/mem")).is_ok()),
        ("connect over TCP", std::net::TcpStream::connect(address).is_ok()),
        ("listen on TCP", std::net::TcpListener::bind("127.0.0.1:0").is_ok()),
        ("open a UDP socket", std::net::UdpSocket::bind("127.0.0.1:0").is_ok()),
        ("connect to a Unix socket", std::os::unix::net::UnixStream::connect(folder.join("socket")).is_ok()),
        ("start a program", Command::new("/bin/true").status().is_ok()),
        // Exchanging itself for a program would end the tries where it works.
        (
            "exchange itself for a program",
            locked && Command::new("/bin/true").exec().raw_os_error() == Some(0),
        ),
        // So would a second process: it only shows where it fails.
        // SAFETY: a child, if there is one, ends at once.
        (
            "fork",
            match unsafe { libc::fork() } {
                0 => unsafe { libc::_exit(0) },
                pid => pid > 0,
            },
        ),
        (
            "look into its parent by ptrace",
            call(libc::SYS_ptrace, libc::PTRACE_ATTACH.into(), parent.into(), 0) && {
                call(libc::SYS_ptrace, libc::PTRACE_DETACH.into(), parent.into(), 0)
            },
        ),
        ("signal its parent", call(libc::SYS_kill, parent.into(), 0, 0)),
        ("signal its parent's thread", call(libc::SYS_tgkill, parent.into(), parent.into(), 0)),
        ("find a process by descriptor", call(libc::SYS_pidfd_open, parent.into(), 0, 0)),
        ("leave for a namespace", call(libc::SYS_unshare, libc::CLONE_NEWNS.into(), 0, 0)),
        ("ask for a ring of system calls", call(libc::SYS_io_uring_setup, 1, [0u64; 32].as_ptr() as i64, 0)),
        ("change its root", call(libc::SYS_chroot, text(c"/"), 0, 0)),
        ("change its user", call(libc::SYS_setuid, 0, 0, 0)),
        ("open by a path of its own", call(libc::SYS_openat, libc::AT_FDCWD.into(), text(c"/"), 0)),
        (
            "make a link to memory",
            call(libc::SYS_symlinkat, text(c"/"), libc::AT_FDCWD.into(), text(c"/tmp/dunlin-drill-link"))
                && std::fs::remove_file("/tmp/dunlin-drill-link").is_ok(),
        ),
        ("make a raw socket", call(libc::SYS_socket, libc::AF_NETLINK.into(), libc::SOCK_RAW.into(), 0)),
    ];
    // Threads, memory and its own descriptors are what serving needs: they go on working.
    let works = std::thread::spawn(|| vec![1u8; 1 << 20].len()).join().is_ok_and(|length| length == 1 << 20);
    let mut out = std::io::stdout();
    for (what, worked) in tries {
        writeln!(out, "{what}\t{worked}").unwrap();
    }
    writeln!(out, "serve\t{works}").unwrap();
    writeln!(out, "own\t{own}").unwrap();
}

fn nothing_that_a_locked_process_tries_works() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("device.key");
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    let tried = |locked: &str| {
        std::fs::write(&key, "secret").unwrap();
        std::fs::write(folder.path().join("victim"), "x").unwrap();
        let _ = std::fs::remove_dir(folder.path().join("folder"));
        // A sleeper stands for the agent, so that being traced does not stop this program.
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["try", locked]).arg(&key).args([&address, &sleeper.id().to_string()]);
        let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        let status = child.wait().unwrap();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(status.success(), "{locked}: {status}\n{text}");
        text
    };
    let worked = |text: &str, wanted: bool| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.split_once('\t'));
        let chosen = lines.filter(|(_, worked)| *worked == wanted.to_string());
        chosen.map(|(what, _)| what.to_string()).collect()
    };
    let free = tried("free");
    let free_works = worked(&free, true);
    for what in ["read the device's key", "connect over TCP", "start a program", "fork", "make a file"] {
        assert!(free_works.iter().any(|worked| worked == what), "the drill itself fails: {what}\n{free}");
    }
    let locked = tried("locked");
    assert_eq!(worked(&locked, true), ["serve"], "{locked}");
    assert!(worked(&locked, false).len() >= 25, "{locked}");
    println!(
        "test nothing_that_a_locked_process_tries_works ... ok ({} ways out tried, {} of them open without the lock)",
        worked(&locked, false).len(),
        free_works.len() - 1
    );
}

/// Becomes a program that the kernel says no landlock to.
fn without_landlock(program: &[&str]) {
    use seccompiler::{SeccompAction, SeccompFilter};
    let calls = [libc::SYS_landlock_create_ruleset, libc::SYS_landlock_restrict_self];
    let filter = SeccompFilter::new(
        calls.into_iter().map(|call| (call, Vec::new())).collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program_bytes: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program_bytes).unwrap();
    panic!("{}", Command::new(program[0]).args(&program[1..]).exec());
}

fn a_kernel_without_a_layer_is_told_of_or_refused() {
    let own = std::env::current_exe().unwrap();
    let starter = [own.to_str().unwrap(), "without-landlock"];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut plant = runtime.block_on(plant::Plant::new());
    plant.configure(&(plant.config() + "[worker]\nrequire_isolation = true\n"));
    let (code, text) = plant.run_by(&starter, &[]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("error[worker-not-isolated]") && text.contains("without landlock"), "{text}");

    plant.configure(&plant.config());
    let mut agent = plant.start_by(&starter);
    let health = runtime.block_on(plant.any_health(std::time::Duration::from_secs(30)));
    assert!(health.alarms.contains(&"worker-not-isolated".to_string()), "{health:?}");
    let told = support::get(agent.address(), "/dunlin/v1/device").json();
    assert_eq!(told["alarms"][0]["code"], "worker-not-isolated", "{told}");
    assert_eq!(agent.terminate(), Some(0));
    println!("test a_kernel_without_a_layer_is_told_of_or_refused ... ok");
}
