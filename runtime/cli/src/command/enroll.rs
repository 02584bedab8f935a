//! `dunlin enroll`: a new device.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use dunlin_core::code;
use dunlin_core::id::{ChannelId, DeviceId};
use dunlin_fleet::enroll::{self, EnrollRequest, KeyRequest, config_path};
use dunlin_fleet::file::{self, Readers};

use super::access::{self, FleetArgument};
use crate::failure::{Failure, Outcome, on_file};
use crate::show;

/// Enrol a device: a folder with its key, its configuration and the trust it starts from
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:\n  dunlin enroll press-3 --channel stable -o press-3\n  \
                        dunlin enroll press-3 --fleet plant --broker mqtt://10.0.0.5 --channel stable -o press-3\n  \
                        (then copy the folder to the device and run `dunlin agent --config press-3/agent.toml`)\n  \
                        dunlin enroll --batch devices.csv --fleet plant --broker mqtt://10.0.0.5 -o bundles\n  \
                        (lines of `device,channel`; one folder each)\n  \
                        dunlin enroll --batch devices.csv --api-port-from 9001 -o bundles     (on one machine)\n  \
                        dunlin enroll request press-3 -o press-3      (on the device, which makes its key)")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    enroll: Option<Enroll>,
}

#[derive(Subcommand)]
enum Verb {
    Request(Request),
    Accept(Accept),
}

/// On the device: make its key, and a request to be enrolled with it
///
/// The secret key stays in the folder, mode 0600; the request holds the public one.
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin enroll request press-3 -o press-3\n  \
                        (then bring press-3/request.json to the operator: dunlin enroll accept)")]
struct Request {
    /// The device's id: a-z, 0-9 and '-'
    device: DeviceId,
    /// The folder for the key and the request
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// At the operator: enrol a device that made its key itself
///
/// The bundle has no key: its files go beside the key on the device.
#[derive(Args)]
#[command(
    after_help = "Example:\n  dunlin enroll accept request.json --fleet plant --broker mqtt://10.0.0.5 --channel stable -o bundle"
)]
struct Accept {
    /// The request that the device made
    request: PathBuf,
    #[command(flatten)]
    terms: Terms,
    /// The channel that the device starts in
    #[arg(long, value_name = "NAME")]
    channel: ChannelId,
}

// clap leaves a group of a struct with flattened parts empty; by this it knows that the struct is there.
#[derive(Args)]
#[group(args = ["device", "batch"])]
struct Enroll {
    /// The device's id: a-z, 0-9 and '-'
    #[arg(required_unless_present = "batch")]
    device: Option<DeviceId>,
    /// Enrol many: a CSV file of `device,channel`, one device a line
    #[arg(long, value_name = "FILE.csv", conflicts_with_all = ["device", "channel"])]
    batch: Option<PathBuf>,
    /// With --batch: the first device's API listens on this port of 127.0.0.1, each further one on the next
    #[arg(long, value_name = "PORT", conflicts_with_all = ["listen", "device"])]
    api_port_from: Option<u16>,
    #[command(flatten)]
    terms: Terms,
    /// The channel that the device starts in
    #[arg(long, value_name = "NAME", required_unless_present = "batch")]
    channel: Option<ChannelId>,
}

/// What every way of enrolling needs.
#[derive(Args)]
struct Terms {
    #[command(flatten)]
    fleet: FleetArgument,
    /// The broker that the device connects to: mqtts://[USER@]HOST[:PORT], or mqtt:// without TLS
    ///
    /// Without it, that of the connection which the fleet's folder keeps (`dunlin connection`), without the
    /// operator's name; else DUNLIN_BROKER.
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// With mqtts://: the authority that signed the broker's certificate, in PEM; goes into the bundle
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The device shows the broker a certificate: your own authority issues client.pem and client.key, and
    /// you put them beside the configuration
    #[arg(long)]
    client_certificate: bool,
    /// The folder to write, or of the folders to write; those must not be there yet
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// The address of the device's inference API; loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8500")]
    listen: SocketAddr,
    /// The device's first connection waits a random part of this, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    first_connect_jitter_s: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Outcome {
    match (arguments.verb, arguments.enroll) {
        (Some(Verb::Request(arguments)), _) => request(&arguments),
        (Some(Verb::Accept(Accept { request, terms, channel })), _) => {
            let bytes = on_file("read", &request, std::fs::read(&request))?;
            let request = KeyRequest::parse(&bytes)?;
            let mut enrolment = terms.request(request.device, channel)?;
            enrolment.public = Some(request.public);
            enroll(&terms, vec![enrolment])
        }
        (None, Some(Enroll { device: Some(device), batch: None, terms, channel: Some(channel), .. })) => {
            enroll(&terms, vec![terms.request(device, channel)?])
        }
        (None, Some(Enroll { batch: Some(path), api_port_from, terms, .. })) => {
            let requests =
                enroll::read_batch(&path)?.into_iter().enumerate().map(|(index, (device, channel))| {
                    let out = terms.output.join(device.as_str());
                    let mut request = EnrollRequest { out, ..terms.request(device, channel)? };
                    if let Some(first) = api_port_from {
                        request.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port_after(first, index)?));
                    }
                    Ok(request)
                });
            enroll(&terms, requests.collect::<Outcome<_>>()?)
        }
        (None, _) => Err(Failure::usage("name the device and its channel, or give --batch FILE.csv")),
    }
}

/// The port of a device of a batch.
fn port_after(first: u16, index: usize) -> Outcome<u16> {
    let port = u16::try_from(index).ok().and_then(|index| first.checked_add(index)).filter(|_| first > 0);
    port.ok_or_else(|| {
        Failure::usage(format!(
            "--api-port-from {first} leaves no port from 1 to 65535 for device {}",
            index + 1
        ))
    })
}

impl Terms {
    fn request(&self, device: DeviceId, channel: ChannelId) -> Outcome<EnrollRequest> {
        let (broker, kept_ca) = match &self.broker {
            Some(url) => (access::parse_url("--broker", url)?, None),
            None => {
                let folder = self.fleet.folder()?;
                access::devices_broker(&folder)?.ok_or_else(|| {
                    let message = format!("no broker is named, and {} keeps none", folder.display());
                    Failure::new(code::fleet::BROKER_MISSING, message)
                })?
            }
        };
        let ca = self.ca.as_ref().or(kept_ca.as_ref());
        let authority = ca.map(|ca| on_file("read", ca, std::fs::read(ca))).transpose()?;
        Ok(EnrollRequest {
            device,
            channel,
            broker,
            authority,
            client_certificate: self.client_certificate,
            listen: self.listen,
            out: self.output.clone(),
            public: None,
            first_connect_jitter_s: self.first_connect_jitter_s,
            now_unix_s: show::now_unix_s(),
        })
    }
}

fn request(arguments: &Request) -> Outcome {
    let request = KeyRequest::make(&arguments.device, &arguments.output)?;
    let path = arguments.output.join("request.json");
    let json = serde_json::to_vec_pretty(&request).map_err(|error| {
        Failure::new(code::fleet::FILE, format!("the request cannot be written: {error}"))
    })?;
    file::replace(&path, &json, Readers::Anyone)?;
    if arguments.json {
        return show::json(&serde_json::json!({
            "device": request.device, "public": request.public, "request": path,
        }));
    }
    println!("device {} has a key: {}", request.device, request.public);
    println!("  bring {} to the operator: dunlin enroll accept", path.display());
    Ok(())
}

fn enroll(terms: &Terms, requests: Vec<EnrollRequest>) -> Outcome {
    let fleet = terms.fleet.open()?;
    let entries = fleet.enroll_all(&requests)?;
    if terms.json {
        let rows: Vec<serde_json::Value> = requests
            .iter()
            .zip(&entries)
            .map(|(request, entry)| {
                let config = config_path(&request.out);
                serde_json::json!({
                    "device": entry, "folder": request.out, "config": config,
                    "broker": request.broker.to_string(), "api": request.listen,
                })
            })
            .collect();
        // One device is one object, as it always was.
        return match rows.as_slice() {
            [row] => show::json(row),
            rows => show::json(&rows),
        };
    }
    for (request, entry) in requests.iter().zip(&entries) {
        println!("device {} of channel {}: {}", entry.id, entry.channel, request.out.display());
        println!("  key {}, broker {}, API {}", entry.public, request.broker, request.listen);
        if request.client_certificate {
            println!("  put client.pem and client.key there, which your authority issues for {}", entry.id);
        }
        if request.public.is_some() {
            println!("  put these files beside device.key on the device");
        }
        println!("  run it with: dunlin agent --config {}", config_path(&request.out).display());
    }
    Ok(())
}
