//! What criu refuses unless a flag allows it, and does when it is given.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vm::until;

use crate::place::{COUNT, Place, mount};

/// Answers each line of its first client with the line before, and greets a second one once it is told so.
const SERVE: &str = r#"
use Socket;
socket(my $server, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
setsockopt($server, SOL_SOCKET, SO_REUSEADDR, 1);
bind($server, sockaddr_in(2772, INADDR_LOOPBACK)) or die "bind: $!";
listen($server, 5) or die "listen: $!";
open(my $count, ">", "/out/count"); print $count "1\n"; close($count);
accept(my $first, $server);
my $said = "nothing";
while (my $line = <$first>) {
    chomp $line;
    syswrite($first, "$said then $line\n");
    $said = $line;
    if ($line eq "next") {
        accept(my $second, $server);
        syswrite($second, "hello\n");
    }
}
"#;

/// Counts into a socket whose name it is given.
const TELL: &str = r#"
use Socket;
socket(my $socket, PF_UNIX, SOCK_DGRAM, 0) or die "socket: $!";
connect($socket, sockaddr_un($ARGV[0])) or die "connect: $!";
for (my $i = 1; ; $i++) {
    send($socket, "$i", 0) or die "send: $!";
    select(undef, undef, undef, 0.1);
}
"#;

/// A container that runs a program of perl, in the host's network.
fn perl(program: &str, argument: impl FnOnce(&Place) -> String) -> Result<Place> {
    let mut place = Place::new(&[], "")?;
    fs::write(place.dir.join("out/program"), program)?;
    let argument = argument(&place);
    place.bundle.config["process"]["args"] = json!(["perl", "/out/program", argument]);
    let libraries = Path::new("/usr/lib/x86_64-linux-gnu");
    for destination in ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"] {
        mount(&mut place.bundle, destination, libraries, &["bind", "ro"])?;
    }
    for program in ["/lib64", "/usr/bin/perl"] {
        mount(&mut place.bundle, program, Path::new(program), &["bind", "ro"])?;
    }
    let namespaces = place.bundle.config["linux"]["namespaces"].as_array_mut().context("no namespaces")?;
    namespaces.retain(|namespace| namespace["type"] != "network");
    Ok(place)
}

/// A checkpoint that criu refuses, in words with a hint; the container goes on.
fn refused(place: &Place, flags: &[&str], hint: &str) -> Result<()> {
    ensure!(place.checkpoint(flags).is_err(), "criu did not mind");
    ensure!(place.log().contains(hint), "{}", place.log());
    ensure!(place.status()? == "running");
    Ok(())
}

fn line(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    Ok(line)
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn connections_last() -> Result<()> {
    let place = perl(SERVE, |_| String::new())?;
    place.run(Stdio::null())?;
    until("it listens", || Ok(place.count() == 1))?;
    let client = || {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, 2772))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok::<_, std::io::Error>(BufReader::new(stream))
    };
    let mut first = client()?;
    first.get_mut().write_all(b"one\n")?;
    ensure!(line(&mut first)? == "nothing then one\n");
    refused(&place, &[], "--tcp-established")?;
    let mut waiting = client()?;
    refused(&place, &["--tcp-established"], "In-flight connection")?;
    place.checkpoint(&["--tcp-established", "--tcp-skip-in-flight"])?;
    // What is sent meanwhile comes in time.
    first.get_mut().write_all(b"two\n")?;
    ensure!(!matches!(line(&mut waiting), Ok(text) if !text.is_empty()), "it has been greeted");
    place.restore(&["--tcp-established"], Stdio::null())?;
    ensure!(line(&mut first)? == "one then two\n");
    let mut second = client()?;
    first.get_mut().write_all(b"next\n")?;
    ensure!(line(&mut first)? == "two then next\n" && line(&mut second)? == "hello\n");
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_socket_of_the_host_s_is_told_on() -> Result<()> {
    let own = tempfile::tempdir()?;
    let path = own.path().join("socket");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut place = perl(TELL, |_| path.to_string_lossy().into_owned())?;
    // Its name is the same on both sides.
    mount(&mut place.bundle, &own.path().to_string_lossy(), own.path(), &["bind"])?;
    let next = || {
        let mut text = [0; 16];
        let length = socket.recv(&mut text)?;
        String::from_utf8_lossy(&text[..length]).parse::<u32>().context("no number")
    };
    place.run(Stdio::null())?;
    while next()? < 3 {}
    refused(&place, &[], "--ext-unix-sk")?;
    place.checkpoint(&["--ext-unix-sk"])?;
    socket.set_nonblocking(true)?;
    let mut last = 3;
    while let Ok(number) = next() {
        last = number;
    }
    socket.set_nonblocking(false)?;
    place.restore(&["--ext-unix-sk"], Stdio::null())?;
    ensure!((next()?, next()?) == (last + 1, last + 2), "it has not gone on from {last}");
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_file_without_its_name_is_found_again() -> Result<()> {
    let script = "echo one >/a; echo two >>/a; ln /a /b; exec 3</a; read word <&3; rm /a; echo 1 >/out/count; \
                  until [ -e /out/go ]; do sleep 0.1; done; read word <&3; echo $word >/out/said; sleep 1000";
    let place = Place::new(&[], script)?;
    for applet in ["ln", "rm"] {
        std::os::unix::fs::symlink("busybox", place.dir.join("rootfs/bin").join(applet))?;
    }
    place.run(Stdio::null())?;
    until("it has the file open", || Ok(place.count() == 1))?;
    refused(&place, &[], "link-remap")?;
    place.checkpoint(&["--link-remap"])?;
    place.restore(&[], Stdio::null())?;
    fs::write(place.dir.join("out/go"), "")?;
    let said = || fs::read_to_string(place.dir.join("out/said")).unwrap_or_default();
    until("it has read on", || Ok(said().ends_with('\n')))?;
    ensure!(said() == "two\n", "{:?}", said());
    // It has lost its name again.
    let names = fs::read_dir(place.dir.join("rootfs"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    ensure!(!names.iter().any(|name| name == "a" || name.starts_with("link_remap")), "{names:?}");
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn pages_are_kept_once() -> Result<()> {
    let place = Place::new(&[], COUNT)?;
    place.run(Stdio::null())?;
    place.counts_on(0)?;
    let blocks = |part: &str| {
        Ok::<_, std::io::Error>(fs::metadata(place.dir.join(part).join("pages-1.img"))?.blocks())
    };
    place.checkpoint(&["--pre-dump", "--image-path", "first"])?;
    place.counts_on(place.count())?;
    let whole = blocks("first")?;
    place.checkpoint(&["--parent-path", "../first", "--auto-dedup", "--image-path", "second"])?;
    ensure!(blocks("first")? < whole, "what is in the second part is still in the first");
    ensure!(blocks("second")? > 0);
    let last = place.count();
    place.restore(&["--auto-dedup", "--image-path", "second"], Stdio::null())?;
    place.counts_on(last)?;
    ensure!(blocks("second")? == 0, "what is in memory is still in the images");
    Ok(())
}
