import { Button, Tooltip } from '@mantine/core';
import { IconLink } from '@tabler/icons-react';
import { useMutation } from '@tanstack/react-query';
import { has } from '../../api/capabilities';
import { api } from '../../api/client';
import { troubleFrom } from '../../api/errors';
import type { AuditVerification } from '../../api/types';
import { StatusBadge } from '../../components/Badges';
import { CopyCommand } from '../../components/Copy';
import { cli } from '../../lib/cli';
import { group } from '../../lib/format';

/** Reads the whole chain again on demand and says where it first breaks. */
export function ChainCheck() {
  const verify = useMutation({ mutationFn: () => api.get<AuditVerification>('/audit/verify') });
  if (!has('GET /audit/verify')) return null;
  const v = verify.data;
  return (
    <span style={{ display: 'inline-flex', gap: 10, alignItems: 'center', flexWrap: 'wrap' }} aria-live="polite">
      {verify.error && <StatusBadge tone="unknown">{troubleFrom(verify.error).title}</StatusBadge>}
      {v &&
        (v.ok ? (
          <StatusBadge tone="ok" icon={<IconLink size={15} aria-hidden />}>
            {v.sentence || `Chain intact over ${group(v.records)} records`}
          </StatusBadge>
        ) : (
          <StatusBadge tone="bad">
            {v.sentence || 'The chain is broken'}
          </StatusBadge>
        ))}
      <Tooltip label="Each record carries a hash over the one before it. This reads all of them and names the first that does not fit.">
        <Button variant="default" size="xs" loading={verify.isPending} onClick={() => verify.mutate()}>
          Check the chain
        </Button>
      </Tooltip>
      <CopyCommand value={cli.verifyAudit()} />
    </span>
  );
}
