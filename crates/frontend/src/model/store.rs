//! Where archives come from: the model store, directories, URLs.
