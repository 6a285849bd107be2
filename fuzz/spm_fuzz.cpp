// Anything as the source.spm of Marian's files: an Error, or a tokenizer that works.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>

#include "formats/json.h"
#include "headscope/error.h"
#include "headscope/tokenizer.h"
#include "law.h"
#include "tokenizers/sentencepiece_file.h"

namespace {

namespace fs = std::filesystem;

/// A folder that goes with the program.
struct Folder {
  fs::path path = fs::temp_directory_path() / ("fuzz_spm." + std::to_string(::getpid()));
  Folder() { fs::create_directories(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Folder folder;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    // A vocabulary that knows its pieces: without one no file goes further than the first check.
    auto ids = headscope::json::Value{{"</s>", 0}, {"<unk>", 1}, {">>fra<<", 2}};
    for (const auto& piece : headscope::tokenizers::read_sentencepiece(bytes, "fuzz").pieces)
      ids.emplace(piece.text, ids.size());
    std::ofstream(folder.path / "source.spm", std::ios::binary) << bytes;
    std::ofstream(folder.path / "vocab.json") << ids.dump();
    const auto tokenizer = headscope::Tokenizer::load(folder.path);
    const auto encoding =
        tokenizer.encode(">>fra<< a king  b\xC3\x89, \xE4\xB8\xAD\xCC\x81!\n <unk>");
    law(!encoding.ids.empty() && encoding.ids.back() == 0, "a text ends in </s>");
    (void)tokenizer.decode(encoding.ids);
  } catch (const headscope::Error&) {
    // what is wrong with it has been said
  }
  return 0;
}
