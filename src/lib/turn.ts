/** Giving others their turn: long work in small steps lets timers, sockets and other requests in between. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
