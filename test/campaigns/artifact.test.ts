/** Artifacts under kill -9 and power loss, in the short sizes; the full ones are `npm run campaign`. */
import { expect } from "bun:test";
import { control, run as kill } from "../campaign/artifact-kill.ts";
import { run as cutPower } from "../campaign/artifact-power.ts";
import { skipWithout } from "../support/tools.ts";

const log = (): void => undefined;
const { test: killTest } = skipWithout(["strace"], "kills of artifacts at chosen system calls");
const { test: powerTest } = skipWithout(["root", "loop mount", "python3"], "power loss with artifacts");

killTest(
  "a killed server loses no acknowledged byte of an artifact and leaves nothing that gc keeps",
  async () => {
    const { failures, notes } = await kill({ seed: 11, size: "short", log });
    expect(failures).toEqual([]);
    expect(Number(notes["uploads"])).toBeGreaterThan(0);
    expect(Number(notes["appends"])).toBeGreaterThan(0);
  },
  60_000,
);

killTest(
  "a file that was cut or removed is seen by the verification",
  async () => {
    expect(await control({ seed: 5, size: "short", log })).toEqual([]);
  },
  60_000,
);

powerTest(
  "a power failure takes no acknowledged artifact, and the control without synced folders shows that it could",
  async () => {
    const { failures, notes } = await cutPower({ seed: 2, size: "short", log });
    expect(failures).toEqual([]);
    expect(Number(notes["uploads"])).toBeGreaterThan(0);
    expect(Number(notes["writer_acknowledged"])).toBeGreaterThan(0);
    expect(Number(notes["control_lost"])).toBeGreaterThan(0);
  },
  60_000,
);
