//! One depot for each kind of object and each way to be broken; what everybody says of it is a golden.
//!
//! `UPDATE_GOLDEN=1` writes them anew. Read each change with the eyes of somebody at three in the morning.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use format::{Attempt, FOOTER_LEN, HEADER_LEN, Marks, PackFooter, PackName, path};
use model::GroupId;

use crate::common::manifest_of;
use crate::trouble::Sound;
use crate::{of_version, only, run};

type Objects = BTreeMap<String, Bytes>;

fn check(kind: &str, defects: impl Fn(&Sound) -> Vec<(&'static str, Objects)>) {
    let told = run(async {
        let sound = Sound::make().await;
        let mut told = String::new();
        for (defect, objects) in defects(&sound) {
            assert_ne!(objects, sound.objects, "{kind}, {defect}: nothing is broken");
            write!(told, "{kind}, {defect}\n{}\n", sound.trouble(&objects).await).unwrap();
        }
        told
    });
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/damage/golden/{kind}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, told).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_default();
    for (golden, told) in golden.split("\n\n").zip(told.split("\n\n")) {
        assert_eq!(golden, told, "\n--- golden\n{golden}\n--- now\n{told}\n");
    }
    assert_eq!(golden, told);
}

fn with(sound: &Sound, path: &str, bytes: impl Into<Bytes>) -> Objects {
    let mut objects = sound.objects.clone();
    objects.insert(path.to_owned(), bytes.into());
    objects
}

fn without(sound: &Sound, path: &str) -> Objects {
    let mut objects = sound.objects.clone();
    objects.remove(path).unwrap();
    objects
}

fn flipped(sound: &Sound, path: &str, at: usize) -> Objects {
    let mut bytes = sound.objects[path].to_vec();
    bytes[at] ^= 1;
    with(sound, path, bytes)
}

fn swapped(sound: &Sound, one: &str, two: &str) -> Objects {
    let mut objects = with(sound, one, sound.objects[two].clone());
    objects.insert(two.to_owned(), sound.objects[one].clone());
    objects
}

/// The ways that are the same for every kind; `other` is another depot's object of the kind.
fn common(sound: &Sound, path: &str, other: &Bytes, checked: bool) -> Vec<(&'static str, Objects)> {
    let object = &sound.objects[path];
    vec![
        ("empty", with(sound, path, Bytes::new())),
        ("cut off in its head", with(sound, path, object.slice(..20))),
        ("without its last byte", with(sound, path, object.slice(..object.len() - 1))),
        ("with bytes after its end", with(sound, path, [&object[..], b"and more"].concat())),
        ("missing", without(sound, path)),
        ("another depot's in its place", with(sound, path, other.clone())),
        ("of a newer version", with(sound, path, of_version(object, 2, checked))),
    ]
}

#[test]
fn the_header() {
    check("header", |sound| {
        let mut all = common(sound, "depot", &sound.others["depot"], true);
        all.push(("a bit flipped", flipped(sound, "depot", 12)));
        all.push(("under another name as well", with(sound, "depot.bak", sound.objects["depot"].clone())));
        all
    });
}

#[test]
fn a_key_slot() {
    check("key-slot", |sound| {
        let path = only(&sound.objects, "keys/");
        let mut all = common(sound, &path, &sound.others[&only(&sound.others, "keys/")], true);
        all.push(("a bit flipped", flipped(sound, &path, 70)));
        let elsewhere = format!("keys/{}", "0".repeat(32));
        all.push(("under another name as well", with(sound, &elsewhere, sound.objects[&path].clone())));
        all
    });
}

#[test]
fn a_manifest() {
    check("manifest", |sound| {
        let group = |number| manifest_of(&sound.objects, number);
        let others = manifest_of(&sound.others, 1);
        let mut all = common(sound, &group(1), &sound.others[&others], true);
        all.push(("a bit flipped in its head", flipped(sound, &group(1), 12)));
        all.push(("a bit flipped in its body", flipped(sound, &group(1), 140)));
        all.push(("swapped with another", swapped(sound, &group(1), &group(3))));
        all.push(("under another name as well", {
            let elsewhere = path::group(GroupId::from_bits(8), Attempt([8; 16]));
            with(sound, &elsewhere, sound.objects[&group(1)].clone())
        }));
        all
    });
}

#[test]
fn an_intent() {
    check("intent", |sound| {
        let intent = |objects: &Objects| {
            let begins = path::intents_of(GroupId::from_bits(1));
            objects.keys().find(|path| path.starts_with(&begins)).expect("an intent").clone()
        };
        let path = intent(&sound.objects);
        let mut all = common(sound, &path, &sound.others[&intent(&sound.others)], true);
        all.push(("a bit flipped in its body", flipped(sound, &path, 140)));
        all.push(("of a group that is not there", {
            let mut objects = sound.objects.clone();
            objects.remove(&manifest_of(&sound.objects, 1)).unwrap();
            objects
        }));
        all
    });
}

/// The newest marks' name and what is in them.
fn newest_marks(objects: &Objects) -> (String, Marks) {
    let (path, bytes) = objects.iter().rfind(|(path, _)| path.starts_with("gc/")).unwrap();
    (path.clone(), Marks::decode(bytes).unwrap())
}

#[test]
fn collection_marks() {
    check("marks", |sound| {
        let ((path, marks), (_, others)) = (newest_marks(&sound.objects), newest_marks(&sound.others));
        let older = Marks { number: marks.number - 1, ..marks.clone() };
        let others = Marks { number: marks.number, ..others };
        let mut all = common(sound, &path, &others.encode().into(), true);
        all.push(("a bit flipped", flipped(sound, &path, 30)));
        all.push(("older ones in their place", with(sound, &path, older.encode())));
        all.push(("under another name as well", {
            with(sound, &path::marks(marks.number + 1), sound.objects[&path].clone())
        }));
        all.push(("older ones beside them, a bit flipped", {
            let mut bytes = older.encode();
            bytes[30] ^= 1;
            with(sound, &path::marks(older.number), bytes)
        }));
        all
    });
}

#[test]
fn a_pack() {
    check("pack", |sound| {
        let (a, c) = (sound.pack('A'), sound.pack('C'));
        let object = &sound.objects[&a];
        let footer_at = object.len() - FOOTER_LEN;
        let footer = PackFooter::decode(&object[footer_at..], object.len() as u64).unwrap();
        let toc = footer.toc_offset as usize;
        let other = sound.others.iter().find(|(path, _)| path.starts_with("packs/")).unwrap();
        let mut all = common(sound, &a, other.1, false);
        let newer = of_version(object, 2, false);
        all.extend([
            ("a bit flipped in its magic", flipped(sound, &a, 2)),
            ("a bit flipped in its depot", flipped(sound, &a, 12)),
            ("a bit flipped in its slot", flipped(sound, &a, 30)),
            ("a bit flipped in its salt", flipped(sound, &a, 50)),
            ("a bit flipped in its first frame", flipped(sound, &a, HEADER_LEN + 10)),
            ("a bit flipped in its tree", flipped(sound, &a, toc - 20)),
            ("a bit flipped in its table of contents", flipped(sound, &a, toc + 20)),
            ("a bit flipped in its end", flipped(sound, &a, footer_at + 17)),
            ("cut off in its middle", with(sound, &a, object.slice(..100_000))),
            ("swapped with another", swapped(sound, &a, &c)),
            ("under another name as well", {
                let name = PackName::of(b"nothing");
                with(sound, &path::pack(name), object.clone())
            }),
            ("another depot's beside it", with(sound, other.0, other.1.clone())),
            ("a newer one beside it", with(sound, &path::pack(PackName::of(&newer)), newer)),
            ("that nobody needs, a bit flipped", flipped(sound, &sound.pack('D'), HEADER_LEN + 10)),
        ]);
        all
    });
}

#[test]
fn what_is_not_ours() {
    check("strangers", |sound| {
        vec![
            ("a file of somebody else", with(sound, "readme.txt", "hello")),
            ("a name in a folder of ours", with(sound, "packs/ab/abc", "hello")),
            ("a group's name in another spelling", with(sound, "groups/ssg-1", "hello")),
            ("what a check of the store left", with(sound, "check-1/object", "hello")),
        ]
    });
}
