"""The databases behind db.py: Supabase's REST API, Postgres, and the embedded Postgres."""
