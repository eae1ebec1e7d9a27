"""Conan 2: the package of the tree that this file is a part of."""
import re
from pathlib import Path

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load
from conan.tools.system.package_manager import Apt

COMPONENTS = ("reference", "cpu", "data")


class Resnext(ConanFile):
    name = "resnext"
    description = "ResNeXt networks as C++ types, with fast grouped convolutions"
    license = "Apache-2.0"
    topics = ("deep-learning", "neural-networks", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {component: [True, False] for component in COMPONENTS}
    default_options = {component: True for component in COMPONENTS}
    no_copy_source = True

    @property
    def _tree(self):
        return Path(self.recipe_folder).parents[2]

    def set_version(self):
        self.version = re.search(r'version = "(.*)"', load(self, self._tree / "include/resnext/version.hpp"))[1]

    def export_sources(self):
        for pattern in ("CMakeLists.txt", "LICENSE", "CHANGELOG.md", "cmake/*", "include/*"):
            copy(self, pattern, self._tree, self.export_sources_folder, excludes="cmake/packaging/*")

    def layout(self):
        cmake_layout(self)

    def requirements(self):
        if self.options.reference:
            self.requires("eigen/[>=3.4 <4]")
        if self.options.data:
            self.requires("libjpeg-turbo/[>=2.1 <4]")
            self.requires("libpng/[>=1.6 <2]")
            self.requires("zlib/[>=1.2.11 <2]")

    def system_requirements(self):
        if self.options.cpu:  # Conan Center has no oneDNN
            Apt(self).install(["libdnnl-dev"])

    def package_id(self):
        self.info.settings.clear()
        self.info.requires.clear()

    def generate(self):
        CMakeDeps(self).generate()
        toolchain = CMakeToolchain(self)
        for component in COMPONENTS:
            toolchain.cache_variables[f"RESNEXT_{component.upper()}"] = bool(self.options.get_safe(component))
        for programs in ("TESTS", "EXAMPLES", "BENCHMARKS"):
            toolchain.cache_variables[f"RESNEXT_{programs}"] = False
        toolchain.generate()

    def build(self):
        CMake(self).configure()

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE", self.source_folder, Path(self.package_folder) / "licenses")

    def package_info(self):
        # The library's own CMake package, which knows its components and what each of them needs.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = ["share/cmake/resnext"]
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
