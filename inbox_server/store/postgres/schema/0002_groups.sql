-- Step 2 made the functions by which groups of deliveries and acknowledgements are done; step 6 makes them anew.
SELECT;  -- asyncpg executes no script that has nothing but a comment
