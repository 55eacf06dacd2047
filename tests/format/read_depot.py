"""A second reader of Hikae depots, written from docs/format.md alone.

It lists groups and restores snapshots from nothing but a depot's directory and the root key's file. It shares no code with Hikae, so what it can restore does not depend on Hikae being right.

    read_depot.py DEPOT ROOT_KEY list
    read_depot.py DEPOT ROOT_KEY restore SNAPSHOT FILE
"""

import argparse
import hashlib
import json
import os
import struct
import sys

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from zstandard import ZstdDecompressor

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
SELF = bytes(32)
DATA, TREE = 1, 2
PACK_LEN_MAX, FRAME_PLAIN_MAX, BODY_LEN_MAX, WRAPPED_LEN_MAX = 64 << 20, 4 << 20, 16 << 20, 64 << 10
DISK_LEN_MAX = 1 << 50


class Damaged(Exception):
    """Bytes that are not what docs/format.md says they should be."""


def need(condition, what):
    if not condition:
        raise Damaged(what)


def id_text(prefix, number):
    return prefix + "".join(ALPHABET[number >> shift & 31] for shift in range(95, -1, -5))


def derive(context, data):
    return blake3(data, derive_key_context=context).digest()


def keyed(key, data):
    return blake3(data, key=key).digest()


def unseal(key, nonce, sealed, associated):
    return AESGCMSIV(key).decrypt(nonce, sealed, associated)


class Fields:
    """One field after another; nothing is read past the end."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        need(self.at + length <= len(self.data), "it ends too early")
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self, length, signed=False):
        return int.from_bytes(self.take(length), "little", signed=signed)

    def u8(self):
        return self.number(1)

    def u32(self):
        return self.number(4)

    def u64(self):
        return self.number(8)

    def u128(self):
        return self.number(16)

    def i64(self):
        return self.number(8, signed=True)

    def sized(self, most):
        length = self.u32()
        need(length <= most, "a field longer than the format allows")
        return self.take(length)

    def text(self, most=4 << 10):
        return self.sized(most).decode()

    def count(self, most):
        count = self.u32()
        need(count <= min(most, len(self.data) - self.at), "more items than fit")
        return count

    def end(self):
        need(self.at == len(self.data), "bytes after its end")


def opened(data, magic):
    """Magic and version; the rest is the caller's."""
    fields = Fields(data)
    need(fields.take(8) == magic, "another kind of object")
    version = fields.number(2)
    need(version == 1, f"version {version} is not known here")
    return fields


def checked(data, magic):
    need(len(data) >= 32 and blake3(data[:-32]).digest() == data[-32:], "its checksum does not match")
    return opened(data[:-32], magic)


class RootKey:
    def __init__(self, path):
        with open(path, "rb") as file:
            lines = file.read(4096).split(b"\n")
        need(len(lines) == 3 and lines[0] == b"hikae root key 1" and lines[2] == b"", "not a root key")
        digits, check = lines[1].split(b" ")
        self.key = bytes.fromhex(digits.decode())
        need(len(self.key) == 32, "a root key of another length")
        sum = hashlib.sha256(b"hikae root key check" + self.key).hexdigest()
        need(sum[:8].encode() == check, "the root key's check does not match")
        self.name = hashlib.sha256(b"hikae root key name" + self.key).digest()[:8]

    def unwrap(self, wrapped, context):
        """The data key out of a key slot's `wrapped`."""
        need(wrapped[0] == 1, "a wrapped key of another version")
        key_id, after = wrapped[1:17], 18 + wrapped[17]
        region, sealed, inner = wrapped[18:after].decode(), wrapped[after:-60], wrapped[-60:]
        own = int.from_bytes(derive("hikae 2026 default service key of a region", region.encode())[:16], "big")
        own &= (1 << 100) - 1
        need(own.to_bytes(16, "big") == key_id, f"its key is not that of region {region}")
        need(sealed[0] == 1 and sealed[1:9] == self.name, "sealed under another root key")
        bound = b"hikae seal" + b"\x01" + self.name + f"hikae/key/{region}/{id_text('key-', own)}".encode()
        over = unseal(self.key, sealed[9:21], sealed[21:], bound)
        bound = b"hikae wrapped key" + b"\x01" + key_id
        bound += struct.pack(">Q", len(region.encode())) + region.encode() + context.encode()
        return unseal(over, inner[:12], inner[12:], bound)


class Slot:
    """One data key, and the keys of names made from it."""

    def __init__(self, data_key):
        self.data_key = data_key
        self.chunk_names = derive("hikae 2026-11 depot chunk names", data_key)
        self.node_names = derive("hikae 2026-11 depot node names", data_key)


class Tree:
    """A tree reference."""

    def __init__(self, fields):
        self.slot = fields.take(16)
        self.geometry = fields.take(3)
        self.chunk_log2, self.leaf_log2, self.node_log2 = self.geometry
        allowed = [range(12, 21), range(3, 11), range(3, 11)]
        need(all(one in few for one, few in zip(self.geometry, allowed)), "a geometry that is not allowed")
        self.size = fields.u64()
        need(self.size <= DISK_LEN_MAX, "a disk that is too large")
        self.root = None
        if fields.u8() == 1:
            name, pack = fields.take(16), fields.take(32)
            self.root = Link(name, pack, *(fields.u32() for _ in range(6)))

    def fan_out(self, level):
        return 1 << (self.node_log2 if level else self.leaf_log2)

    def span(self, level):
        """Chunks below one node."""
        return 1 << (self.leaf_log2 + self.node_log2 * level)

    def root_level(self):
        chunks, level = -(-self.size >> self.chunk_log2), 0
        while self.span(level) < chunks:
            level += 1
        return level


class Link:
    """A chunk or node: its name, and where it lies."""

    def __init__(self, name, pack, frame, offset, sealed_len, plain_len, at, length):
        self.name, self.pack, self.frame = name, pack, frame
        self.offset, self.sealed_len, self.plain_len = offset, sealed_len, plain_len
        self.at, self.length = at, length
        need(plain_len <= FRAME_PLAIN_MAX and at + length <= plain_len, "a range outside of its frame")
        need(offset + sealed_len <= PACK_LEN_MAX, "a frame outside of its pack")


class Depot:
    def __init__(self, path, root_key):
        self.path, self.root_key = path, root_key
        fields = checked(self.object("depot"), b"HIKAEdep")
        self.id = fields.u128()
        fields.i64()
        need(fields.take(3) == b"\x01\x01\x01", "algorithms that are not known here")
        fields.end()
        self.slots, self.salts, self.frames = {}, {}, {}

    def object(self, name, offset=0, length=None):
        with open(os.path.join(self.path, *name.split("/")), "rb") as file:
            file.seek(offset)
            data = file.read(-1 if length is None else length)
        need(length is None or len(data) == length, f"{name} is cut off")
        return data

    def slot(self, slot):
        if slot not in self.slots:
            fields = checked(self.object(f"keys/{slot.hex()}"), b"HIKAEkey")
            need((fields.u128(), fields.take(16)) == (self.id, slot), "the key slot of another place")
            fields.u128()
            fields.i64()
            wrapped = fields.sized(WRAPPED_LEN_MAX)
            fields.end()
            context = f"{id_text('depot-', self.id)} slot {slot.hex()}"
            self.slots[slot] = Slot(self.root_key.unwrap(wrapped, context))
        return self.slots[slot]

    def groups(self):
        for name in sorted(os.listdir(os.path.join(self.path, "groups"))):
            if name.startswith("ssg-") and len(name) == 24 + 1 + 32:
                group = self.group(name)
                if group:
                    yield group

    def group(self, name):
        """None if it is void."""
        data = self.object(f"groups/{name}")
        fields = checked(data, b"HIKAEgrp")
        need(fields.u128() == self.id, "the manifest of another depot")
        slot, number, attempt, salt = fields.take(16), fields.u128(), fields.take(16), fields.take(32)
        need(f"{id_text('ssg-', number)}.{attempt.hex()}" == name, "the manifest of another group or attempt")
        header = data[: fields.at]
        sealed = fields.sized(BODY_LEN_MAX)
        fields.end()
        if not sealed:
            return None
        key = derive("hikae 2026-11 depot manifest key", self.slot(slot).data_key + salt)
        return self.manifest(Fields(unseal(key, bytes(12), sealed, header)), number)

    def manifest(self, body, number):
        need(body.u128() == number, "the body of another group")
        group = {"group": id_text("ssg-", number), "instance": id_text("i-", body.u128())}
        body.take(16)
        group["instance_name"], group["region"], group["zone"] = body.text(), body.text(), body.text()
        group["taken"] = body.i64()
        group["consistency"] = {1: "crash", 2: "file-system", 3: "application"}[body.u8()]
        group["spec"] = (body.text(), body.text(8 << 20))
        group["system"] = {1: "linux", 2: "windows"}[body.u8()]
        group["vcpus"], group["memory"] = body.u32(), body.u64()
        group["disks"] = [self.disk(body) for _ in range(body.count(1024))]
        group["labels"] = [(body.text(), body.text()) for _ in range(body.count(256))]
        body.end()
        return group

    def disk(self, body):
        disk = {"snapshot": id_text("s-", body.u128()), "disk": id_text("d-", body.u128())}
        disk["device"] = body.text()
        disk["kind"] = {1: "system", 2: "data"}[body.u8()]
        disk["encrypted"], disk["tracked"] = body.u8() == 1, body.u8() == 1
        disk["tree"] = Tree(body)
        disk["read"], disk["stored"] = body.u64(), body.u64()
        disk["base"] = None
        if body.u8() == 1:
            disk["base"] = (id_text("ssg-", body.u128()), id_text("s-", body.u128()))
        disk["origin"] = None
        if body.u8() == 1:
            ids = (id_text("depot-", body.u128()), id_text("ssg-", body.u128()), id_text("s-", body.u128()))
            disk["origin"] = (*ids, body.take(16) if body.u8() == 1 else None)
        return disk

    def frame(self, link, kind):
        """A frame's plain bytes. The last few are kept: chunks of one frame follow one another."""
        at = (link.pack, link.frame, kind)
        if at not in self.frames:
            name = f"packs/{link.pack.hex()[:2]}/{link.pack.hex()}"
            if link.pack not in self.salts:
                header = opened(self.object(name, 0, 74), b"HIKAEpck")
                need(header.u128() == self.id, "a pack of another depot")
                self.salts[link.pack] = (header.take(16), header.take(32))
            slot, salt = self.salts[link.pack]
            key = derive("hikae 2026-11 depot pack key", self.slot(slot).data_key + salt)
            number = struct.pack("<I", link.frame)
            bound = b"hikae frame 1" + self.id.to_bytes(16, "little") + slot + salt + number + bytes([kind])
            packed = unseal(key, number + bytes(8), self.object(name, link.offset, link.sealed_len), bound)
            need(packed and packed[0] in (0, 1), "a frame packed in a way that is not known")
            plain = packed[1:]
            if packed[0] == 1:
                plain = ZstdDecompressor().decompress(plain, max_output_size=link.plain_len)
            need(len(plain) == link.plain_len, "a frame of another length")
            while len(self.frames) >= 64:
                del self.frames[next(iter(self.frames))]
            self.frames[at] = plain
        return self.frames[at]

    def piece(self, link, kind):
        plain = self.frame(link, kind)
        need(link.at + link.length <= len(plain), "a frame shorter than what should be in it")
        return plain[link.at : link.at + link.length]

    def node(self, tree, link, level):
        """The children of a node by index, those that are missing being holes; and what packs it says are below them."""
        fields = Fields(self.piece(link, TREE))
        need(fields.u8() == level, "a node of another level")
        fan_out = tree.fan_out(level)
        packs = [fields.take(32) for _ in range(fields.count(fan_out))]
        packs = [link.pack if pack == SELF else pack for pack in packs]
        frames = [[fields.u32() for _ in range(5)] for _ in range(fields.count(fan_out))]
        presence = fields.take(fan_out // 8)
        present = [child for child in range(fan_out) if presence[child // 8] >> child % 8 & 1]
        names = [fields.take(16) for _ in present]
        frame_of = [fields.u32() for _ in present]
        ats = [fields.u32() for _ in present]
        lengths = [fields.u32() if level else 1 << tree.chunk_log2 for _ in present]
        below = self.below(fields, present) if level else None
        fields.end()
        named = tree.geometry + bytes([level])
        named += b"".join(struct.pack("<I", child) + name for child, name in zip(present, names))
        own = keyed(self.slot(tree.slot).node_names, named)[:16]
        need(own == link.name, "a node is not what its name says")
        children = {}
        for child, name, frame, at, length in zip(present, names, frame_of, ats, lengths):
            pack, number, offset, sealed_len, plain_len = frames[frame]
            children[child] = Link(name, packs[pack], number, offset, sealed_len, plain_len, at, length)
        return children, below

    @staticmethod
    def below(fields, present):
        """The stems of the packs below each child; none where the children must be asked."""
        count = fields.number(2)
        if count == 65535:
            return None
        need(count <= 256, "more packs below than a node may list")
        stems = [fields.take(8) for _ in range(count)]
        rows = [fields.take(-(-count // 8)) for _ in present]
        return {
            child: {stem for nth, stem in enumerate(stems) if row[nth // 8] >> nth % 8 & 1}
            for child, row in zip(present, rows)
        }

    def chunks(self, tree, link, level, index, seen):
        """Every stored chunk below a node, in order: where it lies on the disk, and its bytes.

        The stems of the packs on the way are added to `seen`; what the nodes say of them must be so.
        """
        children, below = self.node(tree, link, level)
        for child, link in children.items():
            place = index * tree.fan_out(level) + child
            seen.add(link.pack[:8])
            if level > 0:
                under = set()
                yield from self.chunks(tree, link, level - 1, place, under)
                said = below is None or below[child] == under - {link.pack[:8]}
                need(said, "a node is wrong about the packs below it")
                seen |= under
                continue
            data = self.piece(link, DATA)
            own = keyed(self.slot(tree.slot).chunk_names, data)[:16]
            need(own == link.name, "a chunk is not what its name says")
            yield place << tree.chunk_log2, data

    def restore(self, tree, path):
        with open(path, "xb") as file:
            file.truncate(tree.size)
            if tree.root is None:
                return
            for offset, data in self.chunks(tree, tree.root, tree.root_level(), 0, set()):
                if offset < tree.size:
                    file.seek(offset)
                    file.write(data[: tree.size - offset])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("depot")
    parser.add_argument("root_key")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    restore = commands.add_parser("restore")
    restore.add_argument("snapshot")
    restore.add_argument("file")
    options = parser.parse_args()
    depot = Depot(options.depot, RootKey(options.root_key))
    groups = list(depot.groups())
    if options.command == "list":
        for group in groups:
            for disk in group["disks"]:
                disk["size"] = disk.pop("tree").size
        json.dump(groups, sys.stdout, indent=1)
        return
    for disk in (disk for group in groups for disk in group["disks"]):
        if disk["snapshot"] == options.snapshot:
            depot.restore(disk["tree"], options.file)
            return
    sys.exit(f"there is no snapshot {options.snapshot}")


if __name__ == "__main__":
    main()
