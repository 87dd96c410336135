import string


def words(text, limit):
    if isinstance(text, (bytes, bytearray)):
        text = text.decode()
    return [word.strip(string.punctuation).lower() for word in text.split()][:limit]
