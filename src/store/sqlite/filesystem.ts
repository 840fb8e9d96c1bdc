/**
 * Which filesystems a store can live on. SQLite's log needs memory that all processes share and locks that
 * hold (https://sqlite.org/wal.html, "all processes must be on the same host"); a network gives neither, and
 * the loss is silent. It knows nothing of the store.
 */
import { statfsSync } from "node:fs";
import { nearestFolder } from "../../lib/private-files.ts";

/** statfs(2) and linux/magic.h. */
const NETWORK = new Map<number, string>([
  [0x6969, "NFS"],
  [0x517b, "SMB"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB"],
  [0x01021997, "9p"],
  [0x5346414f, "AFS"],
  [0x6b414653, "AFS"],
  [0x00c36400, "Ceph"],
  [0x73757245, "Coda"],
  [0x564c, "NCP"],
  [0x0bd00bd0, "Lustre"],
  [0x47504653, "GPFS"],
  [0x20030528, "OrangeFS"],
  [0x19830326, "BeeGFS"],
  [0xaad7aaea, "PanFS"],
  [0x786f4256, "a VirtualBox shared folder"],
  [0xbacbacbc, "a VMware shared folder"],
  [0x7c7c6673, "a Parallels shared folder"],
]);

/**
 * A program's filesystem: it may be a network (sshfs, rclone) or a local disk (ntfs-3g), and does not say
 * which.
 */
const FUSE = 0x65735546;

export interface FilesystemJudgement {
  /** The name of a network filesystem, or null. */
  network: string | null;
  /** Whether it may be one all the same. */
  doubtful: boolean;
}

/** What the type number of statfs(2) on Linux means. Some systems give it signed. */
export function judgeFilesystem(type: number): FilesystemJudgement {
  const magic = type >>> 0;
  return { network: NETWORK.get(magic) ?? null, doubtful: magic === FUSE };
}

/**
 * Where the path is, or will be made. Off Linux the numbers mean other things, so nothing is said against it.
 */
export function filesystemOf(path: string): FilesystemJudgement {
  if (process.platform !== "linux") return { network: null, doubtful: false };
  return judgeFilesystem(statfsSync(nearestFolder(path)).type);
}
