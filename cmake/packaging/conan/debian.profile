# Takes the libraries from Debian's packages instead of Conan Center.
include(default)
[settings]
compiler.cppstd=20
[platform_requires]
eigen/3.4.0
libjpeg-turbo/2.1.5
libpng/1.6.39
zlib/1.2.13
