-- leading comment; with a semicolon
create table public.a (id int primary key, t text default 'x;y''z;'); -- trailing; comment on the same line

/* block comment; with semicolon
   /* nested; */ still */
insert into a values (1, 'semi;colon'), (2, E'esc\';ape'), (3, $q$dollar;quoted$q$);
;;
create or replace function public.f(x int) returns int language plpgsql as $body$
declare y int;
begin
  y := x; return y;
end;
$body$;
do $$ begin
  perform 1; perform 2;
end $$;
create function g() returns int language sql begin atomic
  select 1;
  select 2;
end;
create view "we;ird" as select 1 as "co;l";
select 'backslash\';
comment on table a is 'tail -- not a comment; /* nor this */';
create table b (n int);
create rule r as on insert to b do also (select 1; select 2);
select 1
-- trailing comment at the end of the file; no semicolon
