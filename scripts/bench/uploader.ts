/** Uploads one artifact after the other until it is stopped: address, token, construct and bytes come as arguments. */
import process from "node:process";

const [url = "", token = "", construct_id = "", bytes = "0"] = process.argv.slice(2);
const content = new Uint8Array(Number(bytes));
for (let at = 0; at < content.byteLength; at += 65_536)
  crypto.getRandomValues(content.subarray(at, Math.min(content.byteLength, at + 65_536)));

for (let number = 0; ; number += 1) {
  // Other bytes each time.
  new DataView(content.buffer).setUint32(0, number);
  const answer = await fetch(new URL(`/v1/artifacts?construct_id=${construct_id}`, url), {
    method: "POST",
    headers: { authorization: `Bearer ${token}` },
    body: content,
  });
  if (answer.status !== 201) throw new Error(await answer.text());
  const { id } = (await answer.json()) as { id: string };
  await fetch(new URL(`/v1/artifacts/${id}`, url), {
    method: "DELETE",
    headers: { authorization: `Bearer ${token}`, "if-match": "*" },
  });
}
