#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "cli/compare.h"
#include "cli/screen.h"
#include "headscope/model.h"
#include "headscope/safetensors.h"

/// `headscope verify`: this engine against reference outputs that anyone can export.
namespace headscope::cli {

/// The verdict on one folder with one configuration file.
struct Verdict {
  std::string folder;
  std::string config;  ///< "config.json" or "config.published.json"
  std::string model_class;
  Allowance allowance;
  std::vector<Compared> tensors;
  std::string error;  ///< why it could not be run; "" when it was
  int status = 0;     ///< exit status of that error

  [[nodiscard]] std::size_t agreeing() const;
  [[nodiscard]] bool ok() const { return error.empty() && agreeing() == tensors.size(); }
};

/// Inputs of io.safetensors as the engine takes them. Errors: kFormat, kUnsupported, kShape.
Tokens read_tokens(const Safetensors& io);
/// Names of the tensors to compare, in natural order (attentions.2 before attentions.10).
std::vector<std::string> output_names(const Safetensors& io);

std::string render_verdict(const Screen& screen, const Verdict& verdict);
std::string render_summary(const Screen& screen, const std::vector<Verdict>& verdicts);
std::string verify_json(const std::vector<Verdict>& verdicts);

int verify(std::span<const std::string> arguments, Lang lang, std::string& out);

}  // namespace headscope::cli
