/** Which filesystems are told to be a network, by the numbers of statfs(2). */
import { expect, test } from "bun:test";
import { tmpdir } from "node:os";
import { filesystemOf, judgeFilesystem } from "../../src/store/sqlite/filesystem.ts";

test("a network is known by its number, also where the system gives it signed", () => {
  expect(judgeFilesystem(0x6969)).toEqual({ network: "NFS", doubtful: false });
  expect(judgeFilesystem(0xff534d42)).toEqual({ network: "CIFS", doubtful: false });
  expect(judgeFilesystem(0xff534d42 | 0)).toEqual({ network: "CIFS", doubtful: false });
});

test("a local filesystem is no network, and FUSE may be one", () => {
  for (const local of [0xef53, 0x9123683e, 0x58465342, 0x794c7630, 0x01021994])
    expect(judgeFilesystem(local)).toEqual({ network: null, doubtful: false });
  expect(judgeFilesystem(0x65735546)).toEqual({ network: null, doubtful: true });
});

test("a folder that is not made yet is judged by the one it will be in", () => {
  expect(filesystemOf(`${tmpdir()}/not/made/yet`)).toEqual(filesystemOf(tmpdir()));
});
