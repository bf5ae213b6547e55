import apis

from api2db import Run

if __name__ == "__main__":
    Run(apis.apis).run()
