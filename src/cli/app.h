#pragma once

#include <span>
#include <string>

#include "cli/words.h"

namespace headscope::cli {

/// headscope with these arguments (without the program's name). What goes to standard output is put
/// into `out`, one line a complaint into `complaint`. Returns the exit status.
int run(std::span<const std::string> arguments, std::string& out, std::string& complaint);

int run_model(std::span<const std::string> arguments, Lang lang, std::string& out);
int cpu(std::span<const std::string> arguments, Lang lang, std::string& out);
int bench(std::span<const std::string> arguments, Lang lang, std::string& out);
int pull(std::span<const std::string> arguments, Lang lang, std::string& out);
int doctor_verb(std::span<const std::string> arguments, Lang lang, std::string& out);
int convert(std::span<const std::string> arguments, Lang lang, std::string& out);
int train(std::span<const std::string> arguments, Lang lang, std::string& out);
int syntax(std::span<const std::string> arguments, Lang lang, std::string& out);
int sweep(std::span<const std::string> arguments, Lang lang, std::string& out);
int plan(std::span<const std::string> arguments, Lang lang, std::string& out);
int models(std::span<const std::string> arguments, Lang lang, std::string& out);

}  // namespace headscope::cli
