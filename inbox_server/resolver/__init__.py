"""From a name to an app key, every link checked: name service, zone file, profile, bucket, key file."""
