/** Servers that stand and fall together. */
export interface ServerGroup {
  /** One after the other, in the order in which they were started. */
  close(): Promise<void>;
}

/** Starts one after the other, all or none: throws what the first throws that does not start, with those before it closed again. */
export async function startTogether(
  starts: Iterable<() => Promise<{ close(): void | Promise<void> }>>,
): Promise<ServerGroup> {
  const servers: { close(): void | Promise<void> }[] = [];
  const close = async () => {
    for (const server of servers) await server.close();
  };
  try {
    for (const start of starts) servers.push(await start());
  } catch (error) {
    await close();
    throw error;
  }
  return { close };
}
