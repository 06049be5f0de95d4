-- The run history: one row per run of a job.

create table if not exists public.aggregator_runs (
  id bigint generated always as identity primary key,
  job text not null,
  started_at timestamptz not null default now(),
  finished_at timestamptz,
  status text not null default 'running'
    check (status in ('running', 'complete', 'incomplete', 'failed')),
  window_from date,
  window_to date,
  counts jsonb not null default '{}',
  failures jsonb not null default '[]'
);

create index if not exists aggregator_runs_job_started_at_idx
  on public.aggregator_runs (job, started_at);

comment on column public.aggregator_runs.failures is
  'One object per failure: kind, source, message, mend, sites (ids), days, account.';

alter table public.aggregator_runs enable row level security;

do $$
begin
  if exists (select from pg_roles where rolname = 'service_role') then
    grant select, insert, update on public.aggregator_runs to service_role;
  end if;
end
$$;
