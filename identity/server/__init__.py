"""The server behind `identity.serve`: HTTP in front of one trained run, and the web page.

    settings.py     what may be chosen, and the limits
    problems.py     every error as RFC 9457 problem details
    access.py       who may ask: host, origin, key, rate
    limits.py       how much at once: requests, bytes, seconds
    observed.py     request ids, log lines, metrics
    uploads.py      photos in a request, zips opened, nothing written
    photo_pool.py   processes that decode photos and find faces
    live_run.py     the run as it is now on disk
    naming.py       faces of all requests through the networks together
    album_jobs.py   folders of photos into albums, in the background
    answers.py      what answers look like, for the OpenAPI document
    app.py          the routes

Uploads are held in memory or in nameless temporary files while a request lasts, and for albums in a private temporary
folder until the job is fetched, given up or too old. Log lines have neither names of people nor of files.
"""
