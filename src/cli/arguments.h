#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/measures.h"
#include "cli/screen.h"
#include "headscope/attention.h"

/// From words on the command line to values. Everything that does not parse is an Error(kUsage)
/// with one line that says what was expected.
namespace headscope::cli {

/// One call of a verb.
struct Call {
  std::string verb;
  Screen screen;
  bool json = false;
  bool help = false;
};

/// The options of one verb: declare them, then parse(). Every verb also knows --help, --json,
/// --lang, --color, --width and --threads.
class Parser {
 public:
  Parser(std::string_view verb, Lang lang);
  Parser(const Parser&) = delete;
  Parser& operator=(const Parser&) = delete;
  ~Parser();

  void option(std::string_view names, std::string& value);
  void repeated(std::string_view names, std::vector<std::string>& values);
  void flag(std::string_view names, bool& value);
  void positionals(std::vector<std::string>& values);
  /// Sets the threads and reads the common options. Errors: kUsage.
  Call parse(std::span<const std::string> arguments);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

/// A whole number in [least, most]. `option` is what errors call it.
std::int64_t parse_integer(const Call& call,
                           std::string_view option,
                           std::string_view word,
                           std::int64_t least,
                           std::int64_t most);
/// That a number which an option asks for lies in [least, most], and that number. Errors: kUsage.
std::int64_t check_range(const Call& call,
                         std::string_view option,
                         std::int64_t number,
                         std::int64_t least,
                         std::int64_t most);
/// "1,2,4": as many of them as are there, no two alike.
std::vector<std::int64_t> parse_integers(const Call& call,
                                         std::string_view option,
                                         std::string_view words,
                                         std::int64_t least,
                                         std::int64_t most);
/// Which of these words it is; the first one for "".
std::size_t parse_choice(const Call& call,
                         std::string_view option,
                         std::string_view word,
                         std::span<const std::string_view> choices);
/// f32 or bf16: how keys and values are kept (--cache).
DType parse_cache(const Call& call, std::string_view word);
/// A finite number.
double parse_number(const Call& call, std::string_view option, std::string_view word);
/// "3.5"
HeadId parse_head(const Call& call, std::string_view option, std::string_view word);
/// "3.5,4.2": all of all words.
std::vector<HeadId> parse_heads(const Call& call,
                                std::string_view option,
                                std::span<const std::string> words);
/// Edits of --zero, --mean ("0.1,0.2") and --scale ("0.1=0.5,0.2=2"). Errors: also a head edited
/// twice.
std::vector<Edit> parse_edits(const Call& call,
                              std::span<const std::string> zero,
                              std::span<const std::string> mean,
                              std::span<const std::string> scale);
/// Errors: kUsage for a head that is edited twice.
void check_edited_once(const Call& call, std::span<const Edit> edits);

/// The text to look at: "-" is standard input, one word that names a file is its contents, all else
/// is the text itself, words joined by spaces.
/// Errors: kNotFound for a word that can only be meant as a file, kResources past 64 MB, kIo.
std::string read_input(const Call& call, std::span<const std::string> words);
/// The same as bytes: nothing is taken off a file's beginning or end.
std::string read_bytes(const Call& call, std::span<const std::string> words);
/// Bytes as read_input gives them: without a BOM and the last line's end.
std::string as_text(std::string bytes);
/// That a word which can only be meant as a file names one. Errors: kNotFound.
void check_input(const Call& call, std::span<const std::string> words);
/// Whether it is one word that can only be meant as a file, and none is there.
bool is_missing_file(std::span<const std::string> words);
/// That something is at a path where a file is wanted; `what` it is, in words. Errors: kNotFound.
void check_there(const Call& call, std::string_view what, const std::string& path);

/// That a file could be written there. Errors: kIo naming the path, kUsage for a folder.
void check_writable(const Call& call, const std::filesystem::path& path);
/// The name of a folder that is to be made, without slashes at its end. Errors: kUsage when something is there already,
/// kIo when it cannot be made there.
std::string new_folder(const Call& call, std::string name);

}  // namespace headscope::cli
