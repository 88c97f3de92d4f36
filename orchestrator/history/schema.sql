-- Version 1 of the history. Every later version only adds: columns with a default, tables, views.
-- No primary keys and no indexes: rows are only ever appended, zone maps prune by time,
-- and a key would double the size (docs/history.md#size).
-- `ts` is the fact's `at`, in UTC: `at` cannot be written in a query without quotes since DuckDB 2.

create table schema_version (version integer not null, since timestamp not null);

create table requests (
    ts timestamp not null,
    decision varchar not null,
    endpoint varchar not null,
    requested varchar not null,
    model varchar not null,
    revision varchar not null,
    replica varchar not null,
    policy varchar not null,
    why varchar not null,
    stream boolean not null,
    status integer not null,
    error varchar not null,
    queue_ms double,
    ttft_ms double,
    total_ms double not null,
    prompt_tokens bigint,
    cached_tokens bigint,
    completion_tokens bigint
);

create table events (
    ts timestamp not null,
    severity varchar not null,
    reason varchar not null,
    message varchar not null,
    model varchar not null,
    revision varchar not null,
    replica varchar not null,
    generation bigint not null
);

-- A client that leaves (499) is not an error of the model.
create view by_model as
select
    model,
    revision,
    count(*) as requests,
    count(*) filter (error <> '' and status <> 499) as errors,
    round(avg(ttft_ms), 1) as ttft_ms,
    round(quantile_cont(ttft_ms, 0.95), 1) as ttft_ms_p95,
    round(avg(total_ms), 1) as total_ms,
    round(quantile_cont(total_ms, 0.95), 1) as total_ms_p95,
    coalesce(sum(completion_tokens), 0)::bigint as tokens,
    round(
        1000 * sum(completion_tokens)
        / nullif(sum(total_ms - coalesce(queue_ms, 0)) filter (completion_tokens > 0), 0),
        1
    ) as tokens_per_s,
    max(ts) as last
from requests
where model <> ''
group by model, revision
order by model, last desc;

-- The UTC day. `now()` alone has a time zone, and comparing it with `ts` would depend on the reader's.
create view today as
select * from requests
where ts >= date_trunc('day', make_timestamp(epoch_us(now())))
order by ts;

create view failures as
select ts, model, revision, status, error, why, total_ms from requests
where error <> '' and status <> 499
order by ts desc;
