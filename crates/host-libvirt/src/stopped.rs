//! Sessions of a stopped instance: its images, served read-only.
//!
//! # Consistency
//! Nobody writes to the images of a stopped instance, and the servers hold QEMU's image lock: while a
//! session is open the instance does not start, it says `Busy`.
//! # Crash consistency
//! The servers end with our process. Nothing was changed: there is no new checkpoint, and the session is
//! simply lost.
//! # Concurrency
//! Callers hold the instance's lock. A start that slipped in before all servers held their locks is seen
//! afterwards and the session given up.
//! # Errors
//! A mark that failed left no server behind.
//! # Cancellation
//! Runs to its end in a task of its own.
//! # Limits
//! One server a disk.

use std::collections::HashMap;

use host::{HostError, Mark};
use model::DiskId;

use crate::checkpoint;
use crate::failure::Failure;
use crate::link::Link;
use crate::running::{Chosen, Looked, busy, choose, is_active, lost, record, spec};
use crate::server::{Serve, Server};
use crate::session::{Record, Scratch, SessionDir};

/// An open session of a stopped instance. It lives in our process, as its servers do.
#[derive(Debug)]
pub(crate) struct OfflineSession {
    pub(crate) record: Record,
    pub(crate) servers: HashMap<DiskId, Server>,
}

impl OfflineSession {
    pub(crate) async fn end(self) {
        for server in self.servers.into_values() {
            server.end().await;
        }
    }
}

/// What is to be served, found out before anything is started.
#[derive(Debug)]
pub(crate) struct Prospect {
    record: Record,
    serves: Vec<(DiskId, String, Serve)>,
}

pub(crate) fn look(looked: &Looked, mark: &Mark, session: &SessionDir) -> Result<Prospect, Failure> {
    let known = checkpoint::ours(&looked.domain, &looked.def, false)?;
    let begun = session.load().is_some_and(|record| record.begun);
    if begun || known.iter().any(|ours| ours.group == mark.group) {
        return Err(lost("the session of this group has ended"));
    }
    let chosen = choose(looked, mark, &known)?;
    let serves = chosen.iter().map(serve).collect::<Result<_, _>>()?;
    Ok(Prospect { record: record(&spec(&looked.domain)?, &chosen), serves })
}

fn serve(chosen: &Chosen<'_>) -> Result<(DiskId, String, Serve), Failure> {
    let disk = chosen.disk;
    if disk.encrypted {
        let message = format!("disk {} is encrypted: it can be read only while it runs", disk.device);
        return Err(HostError::Unsupported(message).into());
    }
    let image = disk.source.path().ok_or_else(|| HostError::Unsupported("no image file".into()))?;
    let serve = Serve {
        image: image.to_owned(),
        format: disk.format.clone(),
        bitmap: chosen.since.map(checkpoint::name),
        writable: false,
    };
    Ok((disk.id, disk.device.clone(), serve))
}

pub(crate) async fn open(
    link: &std::sync::Arc<Link>,
    scratch: &Scratch,
    mark: &Mark,
    prospect: Prospect,
) -> Result<OfflineSession, HostError> {
    let session = scratch.session(mark.instance, mark.group);
    session.create(None).map_err(|failure| failure.0)?;
    let mut open = OfflineSession { record: prospect.record, servers: HashMap::new() };
    let started = start_all(&mut open, prospect.serves, &session).await;
    let instance = mark.instance;
    let still = match started {
        Ok(()) => {
            link.call(move |libvirt| {
                let (_, domain) = libvirt.domain(instance)?;
                match is_active(&domain)? {
                    true => Err(busy("the instance started meanwhile")),
                    false => Ok(()),
                }
            })
            .await
        }
        Err(error) => Err(error),
    };
    open.record.begun = true;
    let saved = match still {
        Ok(()) => session.save(&open.record).map_err(|failure| failure.0),
        Err(error) => Err(error),
    };
    match saved {
        Ok(()) => Ok(open),
        Err(error) => {
            open.end().await;
            session.remove().map_err(|failure| failure.0)?;
            Err(error)
        }
    }
}

async fn start_all(
    open: &mut OfflineSession,
    serves: Vec<(DiskId, String, Serve)>,
    session: &SessionDir,
) -> Result<(), HostError> {
    for (disk, device, serve) in serves {
        let server = Server::start(session.path(), &device, serve).await?;
        open.servers.insert(disk, server);
    }
    Ok(())
}
