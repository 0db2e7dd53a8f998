"""A deterministic simulation of crash points: break one operation, go on as Airflow or a user would, and count.

Everything that the package does to the outside world is a numbered operation of a :class:`~.world.World`: a file that
is made, written, renamed, listed, synced or removed; a key of the task state store; an XCom; a POST, a GET, a download;
a deferral; a pause; the success that Airflow stores. Time is virtual: a sleep moves the clock, and nothing waits. The
operators, the sensor, the triggers, the hook and the engine of the batch are the real ones; only the world around them
is made here.

A *case* is a path (``sync``, ``deferred``, ``batch``, …), a storage, a seed, some *blows* (a disturbance at the
operation of a number) and what follows: the task is retried, or a user clears it. After a kill nothing that the dead
process still does has an effect. A frozen process stops within an operation; the next try runs to its end beside it,
and then the old one goes on.

After each case the invariants of :mod:`.invariants` are checked: nothing is paid twice unasked, no accepted job is
dropped, no half file has a final name, a retry ends, and the result is that of an undisturbed run.

==================  ==================================================================================================
``world.py``        the numbered operations, the clock, the processes, and what a blow does
``blows.py``        the kinds of disturbances, and where each can strike
``disk.py``         a local disk that can lose what was not synced; ``objects.py`` a storage behind fsspec
``api.py``          the API and the media host; counts what is paid
``airflow.py``      the task instance, the state store of Airflow 3.3, XComs
``pools.py``        threads' work, in an order that the seed draws; ``loops.py`` an event loop in virtual time
``install.py``      puts all of this in the place of the real things
``paths.py``        the tasks; ``story.py`` their tries, retries and clears
``invariants.py``   what must hold
``explore.py``      each point of a path, and random ones
``plants.py``       faults that are planted, to prove that the simulation sees them
==================  ==================================================================================================

``python -m tests.simulation`` runs it by hand: ``… sync:disk`` all points of a path, ``… 'sync:disk:0 12=kill_after
retry'`` one case with its operations. A failing test prints that line.
"""
