import type { TcpLabels } from './labels.ts';
import { ofAnyPeer, tcpLabelNames } from './labels.ts';

/** The counts of all connections with the same labels. */
export interface TcpSeries {
  readonly labels: TcpLabels;
  opened: number;
  closed: number;
  /** From the server to the client: what Istio calls sent, whoever reports it. */
  sentBytes: number;
  /** From the client to the server. */
  receivedBytes: number;
}

/** All series, a bounded number of them. */
export interface SeriesBook {
  of(labels: TcpLabels): TcpSeries;
  all(): Iterable<TcpSeries>;
}

/** So many sets of labels there can be; beyond them come a few in which `other` stands for the peer. */
export const maxTcpSeries = 1000;

/** The first come are named: a counter that made room for another would fall back to zero. */
export function createSeriesBook(most = maxTcpSeries): SeriesBook {
  const series = new Map<string, TcpSeries>();

  const add = (key: string, labels: TcpLabels): TcpSeries => {
    const added = { labels, opened: 0, closed: 0, sentBytes: 0, receivedBytes: 0 };
    series.set(key, added);
    return added;
  };
  return {
    of(labels) {
      const key = keyOf(labels);
      const known = series.get(key);
      if (known !== undefined) return known;
      if (series.size < most) return add(key, labels);
      const ofOthers = ofAnyPeer(labels);
      const othersKey = keyOf(ofOthers);
      return series.get(othersKey) ?? add(othersKey, ofOthers);
    },
    all: () => series.values(),
  };
}

function keyOf(labels: TcpLabels): string {
  let key = '';
  for (const name of tcpLabelNames) key += `${labels[name]}\n`;
  return key;
}
