import {
  IconAlertTriangleFilled,
  IconArrowRight,
  IconCircleCheckFilled,
  IconCircleXFilled,
  IconCopy,
  IconEye,
  IconHelpCircle,
  IconLink,
} from '@tabler/icons-react';
import type { ReactNode } from 'react';
import type { Role } from '../api/types';
import type { Tone } from '../lib/severity';
import { sentenceCase } from '../lib/format';
import { BatonGlyph } from './Logo';
import classes from './Badges.module.css';

/** The shape of a tone: each has its own outline, so that color is never the only sign. */
export function ToneIcon({ tone, size = 16 }: { tone: Tone; size?: number }) {
  const props = { size, 'aria-hidden': true, style: { flex: 'none', color: 'var(--tone)' }, 'data-tone': tone } as const;
  switch (tone) {
    case 'ok':
      return <IconCircleCheckFilled {...props} />;
    case 'warn':
      return <IconAlertTriangleFilled {...props} />;
    case 'bad':
      return <IconCircleXFilled {...props} />;
    default:
      return <IconHelpCircle {...props} />;
  }
}

/** A state as icon and word. */
export function StatusBadge({ tone, children, soft = false, icon }: { tone: Tone; children: ReactNode; soft?: boolean; icon?: ReactNode }) {
  return (
    <span className={classes.status} data-tone={tone} data-soft={soft || undefined}>
      {icon ?? <ToneIcon tone={tone} size={15} />}
      <span>{children}</span>
    </span>
  );
}

export function isLead(role: string): boolean {
  return role === 'leader' || role === 'primary';
}

export function RoleIcon({ role, size = 15 }: { role: string; size?: number }) {
  if (isLead(role)) return <BatonGlyph size={size} />;
  const props = { size, 'aria-hidden': true, stroke: 1.8, style: { flex: 'none' } } as const;
  if (role === 'clone') return <IconCopy {...props} />;
  if (role === 'read-only replica') return <IconEye {...props} />;
  if (role === 'unknown') return <IconHelpCircle {...props} />;
  return <IconLink {...props} />;
}

/** A role as icon and word; when it is not what it should be, both are named. */
export function RoleBadge({ role, shouldBe }: { role: Role | string; shouldBe?: Role | string | null }) {
  const differs = !!shouldBe && shouldBe !== role;
  return (
    <span className={classes.roles}>
      <span className={classes.role} data-lead={isLead(role) || undefined}>
        <RoleIcon role={role} />
        {sentenceCase(role)}
      </span>
      {differs && (
        <span className={classes.should}>
          <IconArrowRight size={13} aria-hidden style={{ flex: 'none' }} />
          should be {shouldBe}
        </span>
      )}
    </span>
  );
}
