"""The server behind `identity.serve`: an HTTP interface to one trained run, and the web page.

    settings.py        options and limits of a server
    problems.py        errors as RFC 9457 problem details
    access.py          middleware: who may send requests (host, origin, key, rate)
    limits.py          middleware: how many requests, bytes and seconds are allowed
    observed.py        middleware: request ids, log lines, metrics
    uploads.py         the photos in a request, those in zips included
    forms.py           multipart forms with the server's limits
    source.py          a photo that can be read, wherever it is stored
    scratch.py         the server's temporary folder
    photo_pool.py      processes that decode photos and detect faces
    live_run.py        the run as it is on disk now
    naming.py          embeds the faces of all requests in common batches and names them
    people_changes.py  enrols and forgets people
    album_jobs.py      sorts photos into albums in the background
    following.py       keeps jobs up to date with the run
    zip_response.py    answers with a zip or a part of it
    answers.py         the shapes of answers, for the OpenAPI document
    service.py         everything that the routes share
    *_routes.py        the routes
    app.py             the application

While a request lasts, its uploads are held in memory or in nameless temporary files. Photos of album jobs are kept in a
private temporary folder until the job is deleted or too old. Log lines contain neither names of people nor of files.
"""
