#pragma once

#include <string>

namespace headscope::cli::testing {

/// Sentences of one kind in CoNLL-U, so that adjective and noun are known; punctuation stands apart.
inline std::string treebank(int sentences) {
  std::string out;
  for (int n = 0; n < sentences; ++n) {
    out +=
        "# text = The old king saw the sharp sword\n"
        "1\tThe\t_\tDET\t_\t_\t3\tdet\t_\t_\n"
        "2\told\t_\tADJ\t_\t_\t3\tamod\t_\t_\n"
        "3\tking\t_\tNOUN\t_\t_\t4\tnsubj\t_\t_\n"
        "4\tsaw\t_\tVERB\t_\t_\t0\troot\t_\t_\n"
        "5\tthe\t_\tDET\t_\t_\t7\tdet\t_\t_\n"
        "6\tsharp\t_\tADJ\t_\t_\t7\tamod\t_\t_\n"
        "7\tsword\t_\tNOUN\t_\t_\t4\tobj\t_\t_\n\n";
  }
  return out;
}

}  // namespace headscope::cli::testing
