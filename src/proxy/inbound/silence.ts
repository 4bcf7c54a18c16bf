import type { Socket } from 'node:net';
import type { Clock } from '../../clock.ts';

/**
 * A client that says nothing at first either waits for the application to speak (MySQL, SMTP, NATS), or is late. What is
 * sent to a late one that means mutual TLS breaks its handshake, so the application is given time: a hello follows the
 * connection within a few milliseconds, and within 250 where its first packet was lost.
 */
export const silenceLimits = {
  /** Until the application is dialled, which does no harm. */
  beforeDialMs: 50,
  /** From the accept until the client gets what the application says. */
  greetingMs: 300,
  /** The same at a port whose application is known to speak first. */
  leastGreetingMs: 20,
  /** Ports that are remembered. */
  ports: 1000,
} as const;

/** Which ports have an application that speaks first, and so for how long its greeting is kept from a silent client. */
export interface Greetings {
  /** From the accept on; milliseconds. */
  heldMs(port: number): number;
  /** The application has spoken before the client. A client that is silent tells nothing. */
  spoken(port: number): void;
}

export function createGreetings(): Greetings {
  const heldMsOf = new Map<number, number>();
  const heldMs = (port: number) => heldMsOf.get(port) ?? silenceLimits.greetingMs;
  return {
    heldMs,
    spoken(port) {
      const shorterMs = Math.max(silenceLimits.leastGreetingMs, heldMs(port) / 2);
      heldMsOf.delete(port);
      heldMsOf.set(port, shorterMs);
      const [oldest] = heldMsOf.keys();
      if (heldMsOf.size > silenceLimits.ports && oldest !== undefined) heldMsOf.delete(oldest);
    },
  };
}

/** For how much longer, milliseconds. */
export interface SilenceEnds {
  /** What the application says is kept from the client. */
  readonly heldMs: number;
  /** The client may still turn out to mean TLS. */
  readonly settledMs: number;
}

/**
 * Waits until one of two silent sides speaks, ends or is gone; not a byte is taken. The client comes first while the application is held:
 * `greeting` is one that was held to the end. `settled`: what either says from now on is for the other.
 */
export function firstToSpeak(
  client: Socket,
  application: Socket,
  clock: Clock,
  { heldMs, settledMs }: SilenceEnds,
): Promise<'client' | 'greeting' | 'settled'> {
  const { promise, resolve } = Promise.withResolvers<'client' | 'greeting' | 'settled'>();
  let isHeld = true;
  let hasSpoken = false;
  const release = () => {
    isHeld = false;
    if (hasSpoken) resolve(application.readableLength > 0 ? 'greeting' : 'settled');
  };
  const timers = [clock.after(heldMs, release), clock.after(settledMs, () => resolve('settled'))];
  const ignoreClient = onWord(client, () => resolve('client'));
  const ignoreApplication = onWord(application, () => {
    hasSpoken = true;
    if (!isHeld) resolve('settled');
  });
  return promise.finally(async () => {
    for (const timer of timers) timer.cancel();
    ignoreClient();
    ignoreApplication();
    // A stream counts its listeners at the next tick: until then another one would not be told what is there to read.
    await new Promise((soon) => setImmediate(soon));
  });
}

function onWord(socket: Socket, heard: () => void): () => void {
  const events = ['readable', 'end', 'close'] as const;
  for (const event of events) socket.on(event, heard);
  if (socket.readableEnded || socket.destroyed) heard();
  return () => {
    for (const event of events) socket.off(event, heard);
  };
}
