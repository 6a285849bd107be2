#include "cli/app.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <new>
#include <system_error>

#include "cli/head.h"
#include "cli/screen.h"
#include "cli/see.h"
#include "cli/verify.h"
#include "cli/walk.h"
#include "formats/edit_distance.h"
#include "formats/files.h"
#include "headscope/error.h"

namespace headscope::cli {

namespace {
struct Verb {
  std::string_view name;
  int (*body)(std::span<const std::string>, Lang, std::string&);
  Word help;
};

constexpr Verb kVerbs[] = {
    {"see", see, Word::kHelpSee},
    {"walk", walk, Word::kHelpWalk},
    {"run", run_model, Word::kHelpRun},
    {"verify", verify, Word::kHelpVerify},
    {"pull", pull, Word::kHelpPull},
    {"models", models, Word::kHelpModels},
    {"convert", convert, Word::kHelpConvert},
    {"train", train, Word::kHelpTrain},
    {"syntax", syntax, Word::kHelpSyntax},
    {"plan", plan, Word::kHelpPlan},
    {"sweep", sweep, Word::kHelpSweep},
    {"doctor", doctor_verb, Word::kHelpDoctor},
    {"head", head_verb, Word::kHelpHead},
    {"cpu", cpu, Word::kHelpCpu},
    {"bench", bench, Word::kHelpBench},
};

const Verb* find_verb(std::string_view name) {
  for (const Verb& verb : kVerbs) {
    if (verb.name == name) return &verb;
  }
  return nullptr;
}

std::string all_verbs() {
  std::string out;
  for (const Verb& verb : kVerbs) out += std::string(verb.name) + ", ";
  return out + "help";
}

[[noreturn]] void unknown_verb(Lang lang, const std::string& word) {
  constexpr std::size_t kClose = 2;
  for (const Verb& verb : kVerbs) {
    if (word.size() > kClose && word.size() < 16 && edit_distance(word, verb.name) <= kClose) {
      throw Error(ErrorCode::kUsage,
                  say(lang, Word::kUnknownVerbNear, all_verbs(), clean(word), verb.name));
    }
  }
  throw Error(ErrorCode::kUsage, say(lang, Word::kUnknownVerb, all_verbs(), clip(clean(word), 40)));
}

// --lang is needed before anything else is read: errors speak it, too.
std::string language_option(std::span<const std::string> arguments) {
  std::string out;
  for (std::size_t i = 0; i < arguments.size() && arguments[i] != "--"; ++i) {
    if (arguments[i] == "--lang" && i + 1 < arguments.size()) out = arguments[i + 1];
    if (arguments[i].starts_with("--lang=")) out = arguments[i].substr(7);
  }
  return out;
}

int help(std::span<const std::string> arguments, Lang lang, std::string& out) {
  for (const std::string& word : arguments) {
    if (word.starts_with("--")) continue;
    if (const Verb* verb = find_verb(word)) {
      out += text(lang, verb->help);
      return 0;
    }
    if (word != "ru" && word != "en") unknown_verb(lang, word);
  }
  out += text(lang, Word::kHelp);
  return 0;
}

int dispatch(std::span<const std::string> arguments, Lang lang, std::string& out) {
  while (!arguments.empty() && arguments[0].starts_with("--lang")) {
    arguments = arguments.subspan(
        std::min<std::size_t>(arguments[0] == "--lang" ? 2 : 1, arguments.size()));
  }
  if (arguments.empty()) {
    throw Error(ErrorCode::kUsage, say(lang, Word::kNeedsVerb, all_verbs()));
  }
  const std::string& first = arguments[0];
  if (first == "--version" || first == "-V") {
    out += "headscope " HEADSCOPE_VERSION "\n";
    return 0;
  }
  if (first == "help" || first == "--help" || first == "-h")
    return help(arguments.subspan(1), lang, out);
  const Verb* verb = find_verb(first);
  if (verb == nullptr) unknown_verb(lang, first);
  return verb->body(arguments.subspan(1), lang, out);
}

std::string reason(int error, Lang lang) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return std::string(text(lang, Word::kNoFileThere));
    case EACCES:
    case EPERM:
      return std::string(text(lang, Word::kNotAllowed));
    case ENAMETOOLONG:
      return std::string(text(lang, Word::kNameTooLong));
    case ELOOP:
      return std::string(text(lang, Word::kLinksInACircle));
    case EMFILE:
    case ENFILE:
      return std::string(text(lang, Word::kTooManyOpen));
    default:
      return std::system_category().message(error);
  }
}

// Files are opened by what knows no language.
std::string complaint_of(const files::NotOpened& error, Lang lang) {
  const std::string path = clean(error.path().string());
  if (error.error() == EISDIR) return say(lang, Word::kNotAFile, path, text(lang, Word::kAFolder));
  if (error.error() == ENODEV) return say(lang, Word::kNotAFile, path, text(lang, Word::kADevice));
  return say(lang, Word::kCannotOpen, path, reason(error.error(), lang));
}
}  // namespace

int run(std::span<const std::string> arguments, std::string& out, std::string& complaint) {
  Lang lang = Lang::kEn;
  try {
    lang = choose_language(language_option(arguments));
    return dispatch(arguments, lang, out);
  } catch (const files::NotOpened& error) {
    complaint = complaint_of(error, lang);
    return exit_status(error.code());
  } catch (const Error& error) {
    complaint = clean(error.what());
    return exit_status(error.code());
  } catch (const std::filesystem::filesystem_error& error) {
    complaint = clean(error.what());
    return exit_status(ErrorCode::kIo);
  } catch (const std::bad_alloc&) {
    complaint = "[memory] expected more memory, found none left";
    return exit_status(ErrorCode::kResources);
  } catch (const std::exception& error) {
    complaint = clean(error.what());
    return exit_status(ErrorCode::kInternal);
  }
}

}  // namespace headscope::cli
