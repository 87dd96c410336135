import a_package_that_nobody_has


def handle(data, context):
    return a_package_that_nobody_has.answer(data)
