SELECT outlast.instant(NULL)
