/**
 * The bytes of artifacts as the rules see them. Bytes come before rows and go after them: what a crash leaves behind
 * is a file that nobody names, never a row without its file. How a file is encoded is a property of the file that is
 * found, so that compressing changes no row.
 *
 * Errors of every operation: `storage_full`, `unavailable` (the file system failed), and those that are named.
 */

/** Where bytes lie: they are grouped by construct and type, and equal ones of a group are one file. */
export interface BlobPlace {
  construct_id: string;
  type: string;
}

export interface BlobKey extends BlobPlace {
  /** Hexadecimal SHA-256 of the decoded bytes. */
  sha256: string;
}

/** An artifact that still grows. */
export interface GrowingKey extends BlobPlace {
  artifact_id: string;
}

export interface BlobDigest {
  sha256: string;
  size_bytes: number;
}

export type BlobEncoding = "identity" | "zstd";

/** How a file lies on the disk now. */
export interface BlobFile {
  stored_bytes: number;
  encoding: BlobEncoding;
}

export interface TextLine {
  /** From 1. */
  number: number;
  /** Without its newline; cut to `text_line_bytes`. */
  bytes: Uint8Array;
  /** Length of the whole line, without its newline. */
  line_bytes: number;
}

export interface TextLines {
  /** Ascending, neighbours. */
  lines: TextLine[];
  /** How many newlines there are, plus one for bytes behind the last of them. */
  total_count: number;
  /** Offset behind the last line that is given, its newline included; where it would begin when none is. */
  next_offset: number;
  /** The line to go on with, or null when the text ends here. */
  next_line: number | null;
}

export interface LinesRange {
  /** First line, from 1; or the last `tail` lines. */
  from?: number;
  tail?: number;
  count: number;
  /** Sum of lengths after which it stops; at least one line is given. */
  max_bytes: number;
}

/** Bytes that can be read; the same while they are held, also when the file is compressed or removed meanwhile. */
export interface Blob extends BlobFile {
  /** Decoded length. */
  size_bytes: number;
  /** All decoded bytes, when they are in memory anyhow. */
  bytes?: Uint8Array;
  /** The file itself, for whoever can send it as it lies; valid until `close`. */
  path: string;
  /** Decoded bytes of [start, end) in order, in pieces; decodes only what it must. Errors: `integrity_failed`. */
  read(start: number, end: number): AsyncGenerator<Uint8Array>;
  /** The stored bytes, a valid zstd stream when `encoding` says so. */
  stored(): AsyncGenerator<Uint8Array>;
  /** Bounded memory, and a time that does not grow with the file once its index is there. Errors: `integrity_failed`. */
  lines(range: LinesRange): Promise<TextLines>;
  close(): Promise<void>;
}

export interface PutOptions {
  max_bytes: number;
  /** What the sender says the digest is. */
  sha256?: string;
}

export interface FirstBytes {
  chunks: AsyncIterable<Uint8Array>;
  max_bytes: number;
  isKnown(): Promise<boolean>;
}

export interface GcReport {
  /** Begun and never finished. */
  temporary: string[];
  /** Named by no row. */
  unreferenced: string[];
  removed_bytes: number;
}

export interface Blobs {
  /**
   * Streams bytes to their place: hashed while written, fsynced, renamed, its folders fsynced; then runs `commit`, which
   * writes the row. The digest is locked from "is it there?" to the end of `commit`. Without a row nothing is kept that
   * was not there before. A chunk that is a whole buffer is handed over: nobody may use it afterwards. Errors:
   * `too_large`, `invalid_request` (digest differs), what `chunks` and `commit` throw.
   */
  put<T>(
    place: BlobPlace,
    chunks: AsyncIterable<Uint8Array>,
    options: PutOptions,
    commit: (digest: BlobDigest) => Promise<T>,
  ): Promise<T>;
  /** Null when there is no such file. */
  find(key: BlobKey): Promise<BlobFile | null>;
  /** Errors: `integrity_failed` when the file is not there. */
  open(key: BlobKey): Promise<Blob>;
  /** Compresses on the thread pool if that is text and gains a fifth; leaves one good copy at every instant. */
  compress(key: BlobKey): Promise<BlobFile | null>;
  /** The same when there is time for it; what is still to be done at the end stays as it is. */
  compressSoon(key: BlobKey): void;

  growing: {
    /**
     * A file with its first bytes, there for good when `commit` runs with their digest. One that `isKnown` says somebody
     * has is left as it is, and the bytes are only hashed. Errors: `too_large`, what `chunks` and `commit` throw.
     */
    create<T>(key: GrowingKey, first: FirstBytes, commit: (sha256: string) => Promise<T>): Promise<T>;
    /**
     * Appends at the end and resolves with the new length once that is on disk; one at a time for each artifact. When
     * `chunks` throw, what was written is kept and its length told by `length`. Errors: `conflict` (member `offset`:
     * the length), `too_large`, `not_found`.
     */
    append(
      key: GrowingKey,
      offset: number,
      chunks: AsyncIterable<Uint8Array>,
      max_bytes: number,
    ): Promise<number>;
    /** Synced length, or null when it does not grow (any more). */
    length(key: GrowingKey): Promise<number | null>;
    /** A view of the length it has now. Errors: `not_found`. */
    open(key: GrowingKey): Promise<Blob>;
    /** Fixes digest and length, moves the bytes to their place and runs `commit`; repeatable after a crash at any point. */
    seal<T>(key: GrowingKey, commit: (digest: BlobDigest) => Promise<T>): Promise<T>;
  };

  /** Stored bytes of each type of a construct. */
  usage(construct_id: string): Promise<Map<string, { stored_bytes: number; files_count: number }>>;
  /**
   * Looks through all files. `isReferenced` is asked under the digest's lock before a file goes; files younger than
   * `grace_ms` stay. With `dry_run` nothing is removed.
   */
  gc(
    options: { grace_ms: number; dry_run: boolean; now_ms: number },
    isReferenced: (key: BlobKey | GrowingKey) => Promise<boolean>,
  ): Promise<GcReport>;
  /** Ends what is under way and begins nothing more. */
  close(): Promise<void>;
}
