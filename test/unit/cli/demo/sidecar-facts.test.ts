import { describe, expect, it } from 'vitest';
import { readMetricsPage } from '../../../../src/cli/demo/metrics-page.ts';
import { sidecarFacts } from '../../../../src/cli/demo/sidecar-facts.ts';

const page = `# HELP remora_tls_handshakes_total Mutual TLS handshakes, by outcome
# TYPE remora_tls_handshakes_total counter
remora_tls_handshakes_total{direction="inbound",result="success",reason=""} 3
remora_tls_handshakes_total{direction="outbound",result="success",reason=""} 2
remora_tls_handshakes_total{direction="inbound",result="failure",reason="plaintext_in_strict"} 12
remora_tls_handshakes_total{direction="inbound",result="failure",reason="alpn"} 4
remora_connections_total{direction="inbound",transport="hbone",security="mutual_tls"} 40
remora_connections_total{direction="outbound",transport="plaintext",security="plaintext"} 1
remora_connections_denied_total{direction="inbound",reason="reserved_port"} 2
remora_connections_denied_total{direction="inbound",reason="not_ready"} 0
remora_connections_open{direction="inbound"} 1
remora_connections_open{direction="outbound"} 0
remora_certificate_renewals_total{source="control_plane",result="success",reason=""} 4
remora_certificate_renewals_total{source="control_plane",result="failure",reason="timeout"} 1
remora_certificate_not_after_timestamp_seconds{kind="workload"} 1790000012.5
remora_certificate_not_after_timestamp_seconds{kind="root"} 1990000000
`;

describe('what a metrics page says', () => {
  it('gives handshakes, connections, renewals after the first certificate, and refusals of both kinds', () => {
    expect(sidecarFacts(page)).toEqual({
      handshakes: { begun: 2, accepted: 3, failed: 16 },
      connections: { total: 41, open: 1 },
      renewals: 3,
      certificateEndsMs: 1_790_000_012_500,
      refusals: { plaintext_in_strict: 12, alpn: 4, reserved_port: 2 },
    });
  });

  it('says nothing of a sidecar that has no certificate yet', () => {
    expect(sidecarFacts('')).toMatchObject({ renewals: 0, certificateEndsMs: undefined, refusals: {} });
  });

  it('reads labels with quotes, backslashes, commas and braces, and passes over what is no sample', () => {
    const text = 'a{x="say \\"hi\\", {you}\\\\\\n",y=""} 1e3 1790000000\nnot a sample\n\n# a comment\nb -1\n';
    expect(readMetricsPage(text)).toEqual([
      { name: 'a', labels: expect.objectContaining({ x: 'say "hi", {you}\\\n', y: '' }), value: 1000 },
      { name: 'b', labels: expect.anything(), value: -1 },
    ]);
  });
});
