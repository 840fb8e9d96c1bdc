/** Asks /healthz of a server every 5 ms until its standard input ends, then prints how long each answer took, in ms. */
let asking = true;
void Bun.stdin.text().then(() => {
  asking = false;
});

async function probe(url: string): Promise<number[]> {
  const latencies: number[] = [];
  while (asking) {
    const began = performance.now();
    const answer = await fetch(`${url}/healthz`, { proxy: false } as unknown as RequestInit);
    await answer.text();
    if (answer.status !== 200) throw new Error(`/healthz answers ${answer.status}`);
    latencies.push(performance.now() - began);
    await Bun.sleep(5);
  }
  return latencies;
}

void probe(process.argv[2] ?? "").then((latencies) => console.log(JSON.stringify(latencies)));
