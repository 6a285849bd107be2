#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>

#include "cli/arguments.h"
#include "headscope/error.h"
#include "headscope/threads.h"

namespace headscope::cli {

namespace {
constexpr int kLeastWidth = 72;
constexpr int kMostWidth = 1000;
constexpr int kMostThreads = 1024;

int terminal_width() {
  winsize size{};
  if (::isatty(STDOUT_FILENO) != 0 && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 &&
      size.ws_col > 0) {
    return std::clamp<int>(size.ws_col, kLeastWidth, kMostWidth);
  }
  return 80;
}

bool wants_colour(const Call& call, const std::string& option) {
  if (option == "always") return true;
  if (option == "never") return false;
  if (!option.empty() && option != "auto") {
    throw Error(ErrorCode::kUsage,
                say(call.screen.lang,
                    Word::kExpectedFound,
                    call.verb,
                    "--color",
                    "auto | always | never",
                    clean(option)));
  }
  const char* no_colour = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  const bool dumb = terminal != nullptr && std::string_view(terminal) == "dumb";
  return (no_colour == nullptr || *no_colour == '\0') && !dumb && ::isatty(STDOUT_FILENO) != 0;
}
}  // namespace

struct Parser::Parts {
  CLI::App app;
  Call call;
  std::string colour, width, threads, lang;
};

Parser::Parser(std::string_view verb, Lang lang) : parts_(std::make_unique<Parts>()) {
  parts_->call.verb = std::string(verb);
  parts_->call.screen.lang = lang;
  parts_->app.set_help_flag();
  flag("--help,-h", parts_->call.help);
  flag("--json", parts_->call.json);
  option("--lang", parts_->lang);  // Read before the verb: errors need it.
  option("--color,--colour", parts_->colour);
  option("--width", parts_->width);
  option("--threads", parts_->threads);
}

Parser::~Parser() = default;

void Parser::option(std::string_view names, std::string& value) {
  parts_->app.add_option(std::string(names), value)->take_last();
}

void Parser::repeated(std::string_view names, std::vector<std::string>& values) {
  parts_->app.add_option(std::string(names), values)->take_all()->allow_extra_args(false);
}

void Parser::flag(std::string_view names, bool& value) {
  parts_->app.add_flag(std::string(names), value);
}

void Parser::positionals(std::vector<std::string>& values) {
  parts_->app.add_option("words", values)->take_all();
}

Call Parser::parse(std::span<const std::string> arguments) {
  Call& call = parts_->call;
  const Lang lang = call.screen.lang;
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    parts_->app.parse(std::move(reversed));
  } catch (const CLI::ExtrasError&) {
    // CLI11 sorts what it does not know last; the first such word is enough.
    const auto unknown = parts_->app.remaining();
    throw Error(ErrorCode::kUsage,
                say(lang,
                    Word::kUnknownOption,
                    call.verb,
                    clean(unknown.empty() ? std::string() : unknown.front())));
  } catch (const CLI::ArgumentMismatch& error) {
    const std::string_view what(error.what());
    throw Error(ErrorCode::kUsage,
                say(lang, Word::kNeedsValue, call.verb, clean(what.substr(0, what.find(':')))));
  } catch (const CLI::ParseError& error) {
    throw Error(ErrorCode::kUsage, say(lang, Word::kBadOption, call.verb, clean(error.what())));
  }
  call.screen.colour = wants_colour(call, parts_->colour);
  const char* deep = std::getenv("COLORTERM");
  const std::string_view kind = deep == nullptr ? "" : deep;
  call.screen.deep = call.screen.colour && (kind == "truecolor" || kind == "24bit");
  call.screen.width = parts_->width.empty()
                          ? terminal_width()
                          : static_cast<int>(parse_integer(
                                call, "--width", parts_->width, kLeastWidth, kMostWidth));
  if (!parts_->threads.empty()) {
    set_threads(
        static_cast<int>(parse_integer(call, "--threads", parts_->threads, 1, kMostThreads)));
  }
  return call;
}

}  // namespace headscope::cli
