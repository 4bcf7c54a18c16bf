import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readFrame } from '../../../src/cli/demo/frames.ts';
import type { WireTotals } from '../../../src/cli/demo/wire-count.ts';
import { createWireCount } from '../../../src/cli/demo/wire-count.ts';
import { captureLink } from '../../../src/libc.ts';
import { sidecarPorts } from '../../../src/ports.ts';

/** Every frame between pods. */
export interface Wire {
  /** What was seen since the start. */
  totals(): WireTotals;
  close(): void;
}

/** Captures on the bridge of the pods, and counts these texts, all of the same length, where they can be read. */
export function watchWire(bridge: string, markers: Readonly<Record<string, string>>): Wire {
  // Only then does a bridge show what it passes on from pod to pod.
  execFileSync('ip', ['link', 'set', bridge, 'promisc', 'on']);
  const count = createWireCount({ markers, tunnelPort: sidecarPorts.hbone });
  const capture = captureLink(Number(readFileSync(`/sys/class/net/${bridge}/ifindex`, 'utf8')));
  return {
    totals() {
      for (const frame of capture.drain()) count.see(readFrame(frame));
      return count.totals();
    },
    close: () => capture.close(),
  };
}
