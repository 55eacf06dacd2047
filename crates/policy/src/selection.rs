//! Which disks of an instance are backed up, and why the others are not.

use model::{BindingOptions, Code, Disk, DiskCapability, DiskId, Instance, Refusal};

/// What was decided about each disk, in the order of the instance's disks; named disks it does not
/// have come last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    pub choices: Vec<Choice>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub disk: DiskId,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Take,
    Leave(Reason),
}

/// Why a disk is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Others were named.
    NotNamed,
    Excluded,
    CannotBeSnapshotted {
        because: String,
    },
    /// It was named, and is not, or no longer, a disk of this instance.
    NotAttached,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotNamed => f.write_str("other disks were chosen"),
            Self::Excluded => f.write_str("it is excluded"),
            Self::CannotBeSnapshotted { because } => write!(f, "it cannot be snapshotted: {because}"),
            Self::NotAttached => f.write_str("it is not attached to the instance"),
        }
    }
}

impl Selection {
    pub fn taken(&self) -> impl Iterator<Item = DiskId> + '_ {
        self.choices.iter().filter(|choice| choice.verdict == Verdict::Take).map(|choice| choice.disk)
    }

    /// Disks that were asked for by name and cannot be had: the point will be partial.
    pub fn missing(&self) -> impl Iterator<Item = DiskId> + '_ {
        let missing = |choice: &&Choice| choice.verdict == Verdict::Leave(Reason::NotAttached);
        self.choices.iter().filter(missing).map(|choice| choice.disk)
    }
}

/// The disks of one run. Without names all disks are taken, those attached since included; a
/// disk that cannot be snapshotted is left out, unless it was named: then the run is refused.
pub fn select(instance: &Instance, options: &BindingOptions) -> Result<Selection, Refusal> {
    let mut choices = Vec::with_capacity(instance.disks.len());
    for disk in &instance.disks {
        choices.push(Choice { disk: disk.id, verdict: judge(disk, options)? });
    }
    for named in &options.disks {
        if choices.iter().all(|choice| choice.disk != *named) {
            choices.push(Choice { disk: *named, verdict: Verdict::Leave(Reason::NotAttached) });
        }
    }
    let selection = Selection { choices };
    if selection.taken().next().is_none() {
        return Err(nothing_left(instance, &selection));
    }
    Ok(selection)
}

/// The disks of a new request: as [`select`], and every disk named must be there.
pub fn admit(instance: &Instance, options: &BindingOptions) -> Result<Selection, Refusal> {
    let named = options.disks.iter().chain(&options.excluded);
    // Naming a disk to be left out that is gone does no harm, but is a slip worth telling.
    if let Some(unknown) = named.copied().find(|named| instance.disk(*named).is_none()) {
        return Err(Refusal::new(
            Code::DiskNotFound,
            format!("{unknown} is not a disk of instance {}", instance.id),
        ));
    }
    select(instance, options)
}

fn judge(disk: &Disk, options: &BindingOptions) -> Result<Verdict, Refusal> {
    let named = options.disks.contains(&disk.id);
    if !options.disks.is_empty() && !named {
        return Ok(Verdict::Leave(Reason::NotNamed));
    }
    // Exclusions count only while no disk is named.
    if !named && options.excluded.contains(&disk.id) {
        return Ok(Verdict::Leave(Reason::Excluded));
    }
    match &disk.capability {
        DiskCapability::Tracked | DiskCapability::Whole => Ok(Verdict::Take),
        DiskCapability::Refused { because } if named => Err(Refusal::new(
            Code::DiskNotSupported,
            format!("disk {} ({}) cannot be snapshotted: {because}", disk.id, disk.device),
        )
        .remedy("Leave it out, and back it up from inside the instance.")),
        DiskCapability::Refused { because } => {
            Ok(Verdict::Leave(Reason::CannotBeSnapshotted { because: because.clone() }))
        }
    }
}

fn nothing_left(instance: &Instance, selection: &Selection) -> Refusal {
    let mut message = format!("instance {} has no disk to back up", instance.id);
    for choice in &selection.choices {
        if let Verdict::Leave(reason) = &choice.verdict {
            message.push_str(&format!("; {}: {reason}", choice.disk));
        }
    }
    Refusal::new(Code::NoDisk, message)
}
