import { describe, expect, it } from 'vitest';
import { formatFor } from '../../../src/metrics/negotiation.ts';

describe('the format of a page', () => {
  it.each([
    [
      'Prometheus 2',
      'application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2',
    ],
    [
      'Prometheus 3',
      'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,/;q=0.1',
    ],
    ['whoever wants nothing else', 'application/openmetrics-text'],
    ['whoever wants it more', 'text/plain;q=0.9, application/openmetrics-text'],
    ['whoever names it, and takes anything', 'application/openmetrics-text, */*'],
    ['whoever writes it otherwise', 'Application/OpenMetrics-Text ; Version="1.0.0" ; Q=1.000 , text/plain;q=0.999'],
    ['whoever takes applications alone', 'application/*'],
    ['whoever refuses the other', 'text/plain;q=0, */*'],
  ])('is OpenMetrics for %s', (_, accept) => {
    expect(formatFor(accept)).toBe('openmetrics');
  });

  it.each([
    ['says nothing', undefined],
    ['says nothing, in a header', ''],
    ['takes anything', '*/*'],
    ['is a browser', 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'],
    ['wants both as much', 'application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4'],
    ['wants it more', 'application/openmetrics-text;version=1.0.0;q=0.2,text/plain;q=0.3'],
    ['refuses the other', 'application/openmetrics-text;q=0, */*'],
    ['wants a version of the other that is not ours', 'application/openmetrics-text;version=0.0.1, */*;q=0.1'],
    [
      'wants the protobuf format first',
      'application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3',
    ],
    ['takes neither', 'application/json'],
    ['refuses everything', '*/*;q=0'],
    ['weighs the other in no number', 'application/openmetrics-text;q=high, text/plain;q=0.1'],
    ['weighs the other with more than one', 'application/openmetrics-text;q=1.5, text/plain;q=0.1'],
    ['weighs the other below nothing', 'application/openmetrics-text;q=-1, */*;q=0.1'],
  ])('is Prometheus text for whoever %s', (_, accept) => {
    expect(formatFor(accept)).toBe('prometheus');
  });

  it('takes no time worth mentioning for a header as long as there may be', () => {
    for (const piece of [',', ';', '=', '*/*;q=0.1,', ' ']) expect(formatFor(piece.repeat(16_384))).toBe('prometheus');
  });
});
