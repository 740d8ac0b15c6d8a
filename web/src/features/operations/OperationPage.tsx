import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { OperationPanel } from './OperationPanel';

const route = getRouteApi('/shell/clusters/$id/operations/$op');

export function OperationPage() {
  const { id, op } = route.useParams();
  const navigate = useNavigate();
  return (
    <OperationPanel
      id={op}
      cluster={id}
      onSwitchBack={(node) => void navigate({ to: '.', search: (old) => ({ ...old, promote: node, undo: op }), resetScroll: false })}
    />
  );
}
