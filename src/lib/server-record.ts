/**
 * `server.json`: which process serves a data directory, and where. Written by the server once it listens,
 * removed before it gives up the directory. It is a hint and never a lock: whoever reads it asks
 * `isThatProcess`, because after a crash it names a process that is gone, or a number that another program
 * has now.
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { replacePrivateFile, systemCode } from "./private-files.ts";

export interface ServerRecord {
  pid: number;
  /** Where it listens. */
  url: string;
  /** UTC, milliseconds. */
  started_at_ms: number;
  /** When the process began, in the kernel's clock ticks since boot; null where there is no /proc. */
  process_start: number | null;
  /** Which boot of the machine that was; null where there is no /proc. */
  boot_id: string | null;
}

/**
 * Field 22 of /proc/PID/stat (proc(5)), counted behind the name: it is in parentheses and may hold some
 * itself.
 */
function processStart(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const start = Number(fields[22 - 3]);
    return Number.isSafeInteger(start) ? start : null;
  } catch {
    return null;
  }
}

function bootId(): string | null {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  } catch {
    return null;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: there is such a process, of another user.
    return systemCode(error) === "EPERM";
  }
}

function pathOf(data_dir: string): string {
  return join(data_dir, "server.json");
}

function isRecord(value: unknown): value is ServerRecord {
  if (typeof value !== "object" || value === null) return false;
  const record = value as Record<string, unknown>;
  return (
    Number.isSafeInteger(record["pid"]) &&
    Number(record["pid"]) > 0 &&
    typeof record["url"] === "string" &&
    Number.isSafeInteger(record["started_at_ms"]) &&
    (record["process_start"] === null || Number.isSafeInteger(record["process_start"])) &&
    (record["boot_id"] === null || typeof record["boot_id"] === "string")
  );
}

/** The record of this very process. */
export function thisServer(url: string, started_at_ms: number): ServerRecord {
  const { pid } = process;
  return { pid, url, started_at_ms, process_start: processStart(pid), boot_id: bootId() };
}

/** Written whole or not at all, 0600. */
export function writeServerRecord(data_dir: string, record: ServerRecord): void {
  replacePrivateFile(pathOf(data_dir), `${JSON.stringify(record)}\n`);
}

/** Null when there is none or it cannot be understood: it is only a hint. */
export function readServerRecord(data_dir: string): ServerRecord | null {
  try {
    const value: unknown = JSON.parse(readFileSync(pathOf(data_dir), "utf8"));
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}

/** Takes this process's record away; another's stays. Call it while the directory's lock is still held. */
export function removeServerRecord(data_dir: string): void {
  const record = readServerRecord(data_dir);
  if (record !== null && (record.pid !== process.pid || !isThatProcess(record))) return;
  rmSync(pathOf(data_dir), { force: true });
}

/**
 * Whether the process of the record is alive, and not another one that got its number later. Where there is
 * no /proc only the number can be asked for.
 */
export function isThatProcess(record: ServerRecord): boolean {
  if (!isAlive(record.pid)) return false;
  if (record.boot_id !== bootId()) return false;
  return record.process_start === null || record.process_start === processStart(record.pid);
}
